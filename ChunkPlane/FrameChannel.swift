import ProtocolModel
import ProtocolWire
import SwiftProtobuf

/// Frames and the raw bytes that may follow them, over one TLS connection.
struct FrameChannel {
    let connection: TLSConnection
    private var decoder: FrameDecoder
    /// Bytes that came with a frame but belong to the data after it, or to the frames after that.
    private var remainder: [UInt8] = []
    private var scratch = [UInt8](repeating: 0, count: 64 * 1024)
    /// Told how many bytes came, and 0 each tenth of a second in which none did.
    private let watch: (Int) throws(TransferError) -> Void
    private static let quiet = Duration.milliseconds(100)

    init(
        connection: TLSConnection, maximumPayloadBytes: Int,
        watch: @escaping (Int) throws(TransferError) -> Void = { _ in }
    ) {
        self.connection = connection
        self.watch = watch
        self.decoder = FrameDecoder(maximumPayloadBytes: maximumPayloadBytes)
    }

    mutating func accept(payloadBytes: Int) { decoder.maximumPayloadBytes = payloadBytes }

    /// The next frame. It may be waited for until `idle`; once its first byte came, it has `whole` to arrive.
    mutating func next(
        idle: ContinuousClock.Instant, whole: Duration, doing: String
    ) throws(TransferError) -> Frame {
        var deadline = idle
        var begun = false
        while true {
            if !remainder.isEmpty {
                decoder.append(remainder)
                remainder = []
            }
            do {
                if let frame = try decoder.next() { return frame }
            } catch {
                throw .refused(error)
            }
            if !begun, decoder.bufferedBytes > 0 {
                begun = true
                deadline = .now + whole
            }
            let count = try readScratch(limit: scratch.count, deadline: deadline, doing: doing)
            remainder = Array(scratch[..<count])
        }
    }

    /// Exactly `count` bytes that belong to no frame.
    mutating func data(_ count: Int, deadline: ContinuousClock.Instant, doing: String) throws(TransferError) -> [UInt8]
    {
        var bytes = decoder.takeRemainder()
        if bytes.count >= count {
            remainder = Array(bytes[count...])
            return Array(bytes[..<count])
        }
        bytes.reserveCapacity(count)
        while bytes.count < count {
            let read = try readScratch(limit: min(scratch.count, count - bytes.count), deadline: deadline, doing: doing)
            bytes.append(contentsOf: scratch[..<read])
        }
        return bytes
    }

    /// Sends a message as a frame, with `data` right behind it.
    func send(
        _ type: FrameType, _ message: some SwiftProtobuf.Message, data: [UInt8] = [], deadline: ContinuousClock.Instant
    ) throws(TransferError) {
        guard let payload: [UInt8] = try? message.serializedBytes() else {
            throw .protocolViolation("a message could not be encoded")
        }
        try connection.write(
            FrameEncoder.encode(Frame(type: type, payload: payload)), deadline: deadline, doing: "sending a frame")
        if !data.isEmpty { try connection.write(data, deadline: deadline, doing: "sending a chunk") }
    }

    private mutating func readScratch(
        limit: Int, deadline: ContinuousClock.Instant, doing: String
    ) throws(TransferError) -> Int {
        let connection = connection
        while true {
            let pause = min(deadline, .now + Self.quiet)
            do {
                let count = try scratch.withUnsafeMutableBytes { buffer in
                    try connection.read(
                        into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<limit]), deadline: pause, doing: doing)
                }
                try watch(count)
                return count
            } catch TransferError.timedOut where pause < deadline {
                try watch(0)
            } catch let error as TransferError {
                throw error
            } catch {
                throw .closed
            }
        }
    }
}
