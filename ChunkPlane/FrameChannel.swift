import ProtocolModel
import ProtocolWire
import SwiftProtobuf

/// Frames and the raw bytes that may follow them, over one TLS connection.
struct FrameChannel {
    let connection: TLSConnection
    private var decoder: FrameDecoder
    /// Bytes that came with a frame but belong to the data after it, or to the frames after that.
    private var remainder: [UInt8] = []
    private static let patienceBetweenBytes = Duration.seconds(5)
    /// One TLS record: what a single read gives.
    private var scratch = [UInt8](repeating: 0, count: 16 * 1024)
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
            let count = try readScratch(deadline: deadline, doing: doing)
            remainder = Array(scratch[..<count])
        }
    }

    /// Fills `bytes` with what belongs to no frame.
    mutating func fill(_ bytes: inout [UInt8], deadline: ContinuousClock.Instant, doing: String) throws(TransferError) {
        let first = decoder.takeRemainder()
        let count = bytes.count
        if first.count > count { remainder = Array(first[count...]) }
        var position = min(first.count, count)
        bytes.replaceSubrange(..<position, with: first[..<position])
        let (connection, watch) = (connection, watch)
        var deadline = deadline
        do {
            try bytes.withUnsafeMutableBytes { buffer in
                while position < count {
                    let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[position...])
                    position += try Self.read(connection, watch, into: rest, deadline: deadline, doing: doing)
                    // Limits, here or at the source, may make data slow; while it comes, it is not late.
                    deadline = max(deadline, .now + Self.patienceBetweenBytes)
                }
            }
        } catch let error as TransferError {
            throw error
        } catch {
            throw .closed
        }
    }

    /// Sends a message as a frame.
    func send(
        _ type: FrameType, _ message: some SwiftProtobuf.Message, deadline: ContinuousClock.Instant
    ) throws(TransferError) {
        guard let payload: [UInt8] = try? message.serializedBytes() else {
            throw .protocolViolation("a message could not be encoded")
        }
        try connection.write(
            FrameEncoder.encode(Frame(type: type, payload: payload)), deadline: deadline, doing: "sending a frame")
    }

    private mutating func readScratch(deadline: ContinuousClock.Instant, doing: String) throws(TransferError) -> Int {
        let (connection, watch) = (connection, watch)
        do {
            return try scratch.withUnsafeMutableBytes {
                try Self.read(connection, watch, into: $0, deadline: deadline, doing: doing)
            }
        } catch let error as TransferError {
            throw error
        } catch {
            throw .closed
        }
    }

    private static func read(
        _ connection: TLSConnection, _ watch: (Int) throws(TransferError) -> Void,
        into buffer: UnsafeMutableRawBufferPointer, deadline: ContinuousClock.Instant, doing: String
    ) throws(TransferError) -> Int {
        while true {
            let pause = min(deadline, .now + Self.quiet)
            do throws(TransferError) {
                let count = try connection.read(into: buffer, deadline: pause, doing: doing)
                try watch(count)
                return count
            } catch {
                guard case .timedOut = error, pause < deadline else { throw error }
                try watch(0)
            }
        }
    }
}
