import Foundation
import NIOCore
import NIOPosix
import RoostClient
import Synchronization

// An asynchronous sequence has a `Failure` of its own, which would hide ours.
typealias CommandFailure = Failure

/// A file in pieces, read one ahead of the network at most, so that its size never matters.
struct FileUpload: AsyncSequence, Sendable {
    static let pieceBytes = 1 << 20

    let path: String
    /// Of the whole file.
    let length: Int64
    private let offset: Int64
    private let descriptor: Descriptor
    private let progress: @Sendable (Int64) -> Void

    /// Closes the file when the last user is gone.
    private final class Descriptor: Sendable {
        let number: Int32
        init(_ number: Int32) { self.number = number }
        deinit { close(number) }
    }

    /// Begins `offset` bytes into the file; `progress` hears how many of it were read so far.
    init(_ path: String, from offset: Int64 = 0, progress: @escaping @Sendable (Int64) -> Void) throws(CommandFailure) {
        let number = open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw .usage("cannot read '\(path)': \(String(cString: strerror(errno)))") }
        descriptor = Descriptor(number)
        var status = stat()
        guard fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw .usage("'\(path)' is not a file with an image in it")
        }
        guard status.st_size > 0 else { throw .usage("'\(path)' is empty") }
        self.path = path
        self.offset = offset
        length = Int64(status.st_size)
        self.progress = progress
    }

    func makeAsyncIterator() -> Iterator { Iterator(upload: self, sent: offset) }

    struct Iterator: AsyncIteratorProtocol {
        let upload: FileUpload
        var sent: Int64

        mutating func next() async throws -> ByteBuffer? {
            try Task.checkCancellation()
            let left = upload.length - sent
            guard left > 0 else { return nil }
            // A slow disk must not hold a thread of the cooperative pool.
            let (offset, wanted, file) = (sent, Int(Swift.min(left, Int64(FileUpload.pieceBytes))), upload.descriptor)
            let piece = try await NIOThreadPool.singleton.runIfActive { try Self.read(file, wanted, at: offset) }
            guard piece.readableBytes > 0 else {
                throw CommandFailure("'\(upload.path)' became shorter while it was sent")
            }
            sent += Int64(piece.readableBytes)
            upload.progress(sent)
            return piece
        }

        private static func read(_ file: Descriptor, _ count: Int, at offset: Int64) throws -> ByteBuffer {
            var buffer = ByteBufferAllocator().buffer(capacity: count)
            try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { pointer in
                let read = pread(file.number, pointer.baseAddress, count, off_t(offset))
                guard read >= 0 else {
                    throw CommandFailure("reading the image failed: \(String(cString: strerror(errno)))")
                }
                return read
            }
            return buffer
        }
    }
}

/// Says how far an upload is, a few times a second.
final class UploadProgress: Sendable {
    private let printer: Printer
    private let name: String
    /// `nil` where nobody knows, as of standard input.
    private let total: Int64?
    private let began = ContinuousClock.now
    private let lastShown = Mutex<ContinuousClock.Instant?>(nil)

    init(_ printer: Printer, name: String, total: Int64?) {
        self.printer = printer
        self.name = name
        self.total = total
    }

    func report(_ sent: Int64) {
        let now = ContinuousClock.now
        let isDue = lastShown.withLock { last in
            if let shown = last, now - shown < .milliseconds(150) { return false }
            last = now
            return true
        }
        if isDue { printer.progress(Self.line(name, sent: sent, of: total, after: now - began)) }
    }

    static func line(_ name: String, sent: Int64, of total: Int64?, after time: Duration) -> String {
        let seconds = time / .seconds(1)
        let rate = seconds > 0 ? Double(sent) / seconds : 0
        guard let total else {
            return "uploading \(name)  \(Amount.bytes(Double(sent)))"
                + (seconds >= 1 ? "  \(Amount.bytes(rate))/s" : "")
        }
        let share = Double(sent) / Double(max(1, total))
        var line = "uploading \(name) \(Amount.bar(share)) \(Int(share * 100)) %  "
        line += "\(Amount.bytes(Double(sent))) of \(Amount.bytes(Double(total)))"
        if seconds >= 1, rate > 0 {
            line += "  \(Amount.bytes(rate))/s  \(Amount.seconds(Double(total - sent) / rate)) left"
        }
        return line
    }
}
