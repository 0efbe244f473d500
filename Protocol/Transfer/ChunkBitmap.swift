/// Which chunks of an image are held: one bit a chunk, the lowest bit of the first byte is chunk 0.
public struct ChunkBitmap: Hashable, Sendable {
    public let count: Int
    public private(set) var heldCount = 0
    /// The bits as they are kept in a file.
    public private(set) var bytes: [UInt8]

    /// Nothing held of `count` chunks.
    public init(count: Int) {
        self.count = max(0, count)
        self.bytes = [UInt8](repeating: 0, count: (self.count + 7) / 8)
    }

    /// Reads what `bytes` wrote. Another length, or a bit beyond the last chunk, is `nil`.
    public init?(count: Int, bytes: [UInt8]) {
        self.init(count: count)
        guard bytes.count == self.bytes.count else { return nil }
        if count % 8 != 0, let last = bytes.last, last >> UInt8(count % 8) != 0 { return nil }
        self.bytes = bytes
        self.heldCount = bytes.reduce(0) { $0 + $1.nonzeroBitCount }
    }

    public var isComplete: Bool { heldCount == count }

    /// Whether the chunk is held; one that does not exist is not.
    public func contains(_ index: Int) -> Bool {
        index >= 0 && index < count && bytes[index / 8] & (1 << UInt8(index % 8)) != 0
    }

    public mutating func insert(_ index: Int) {
        guard index >= 0, index < count, !contains(index) else { return }
        bytes[index / 8] |= 1 << UInt8(index % 8)
        heldCount += 1
    }

    public mutating func remove(_ index: Int) {
        guard contains(index) else { return }
        bytes[index / 8] &= ~(1 << UInt8(index % 8))
        heldCount -= 1
    }

    /// The first chunk at or after `start` that is not held.
    public func firstMissing(from start: Int = 0) -> Int? {
        var index = max(0, start)
        while index < count {
            if index % 8 == 0, bytes[index / 8] == 0xFF {
                index += 8
            } else if contains(index) {
                index += 1
            } else {
                return index
            }
        }
        return nil
    }
}
