import Synchronization

/// Buffers of chunks, used again and again: a new one of a few megabytes costs the kernel as much as its hash costs us.
///
/// Holds at most `limit` of them, and only for as long as somebody transfers.
final class ChunkBuffers: Sendable {
    private let spare = Mutex<[[UInt8]]>([])
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// A buffer of `count` bytes, whatever they are.
    func take(_ count: Int) -> [UInt8] {
        let found = spare.withLock { spare -> [UInt8]? in
            spare.lastIndex { $0.count == count }.map { spare.remove(at: $0) }
        }
        return found ?? [UInt8](unsafeUninitializedCapacity: count) { $1 = count }
    }

    /// Gives a buffer back; it is used again only where nobody else holds it by then, since arrays are values.
    func give(_ buffer: consuming [UInt8]) {
        spare.withLock { [buffer] spare in
            if spare.count >= limit { spare.removeFirst() }
            spare.append(buffer)
        }
    }
}
