import DequeModule
import Foundation
import ProtocolMessages
public import ProtocolModel
public import ProtocolTransfer
import ProtocolWire
import SwiftProtobuf
import Synchronization

/// Stops a client from another thread.
public final class TransferInterrupt: Sendable {
    private struct State {
        var interrupted = false
        var socket: OpenSocket?
    }
    private let state = Mutex(State())

    public init() {}

    public var isInterrupted: Bool { state.withLock { $0.interrupted } }

    public func interrupt() {
        let socket = state.withLock { state in
            state.interrupted = true
            return state.socket
        }
        socket?.interrupt()
    }

    func attach(_ socket: OpenSocket?) {
        let interrupted = state.withLock { state in
            state.socket = socket
            return state.interrupted
        }
        if interrupted { socket?.interrupt() }
    }
}

/// One connection to a source of chunks. Belongs to one thread; every call blocks, within its deadline.
public final class ChunkClient {
    public struct Configuration: Sendable {
        public var connectTimeout = Duration.seconds(5)
        /// How long an answer may take, beyond the wait that the request allows.
        public var answerTimeout = Duration.seconds(15)
        /// How long the source may hold an answer while the chunk is on its way to it.
        public var wait = Duration.seconds(5)
        /// The same for the manifest, which every source of the assignment has soon, or never. Short, since no sign of life
        /// comes meanwhile.
        public var manifestWait = Duration.milliseconds(500)
        /// How often a source that holds an answer says that it is alive.
        public var pulse = Duration.milliseconds(250)
        /// Requests of `fetch` under way at a time.
        public var window = 8
        /// Shared with whatever else moves images in the process.
        public var governor = TransferGovernor()
        public var purpose = TransferPurpose.prefill

        public init() {}
    }

    /// What a source shows beside chunks.
    public enum Sign: Sendable {
        /// So many bytes came.
        case bytes(Int)
        /// It is alive and waits for the chunk itself, for so long already.
        case waiting(Duration)
        /// An answer begins, after the source had to wait for the chunk.
        case answering(waited: Duration)
        /// Nothing came for a tenth of a second.
        case quiet
    }

    /// Sees signs on the client's own thread; where it throws, the call under way ends with that.
    public typealias Watch = (Sign) throws(TransferError) -> Void

    /// A chunk that was verified against the manifest.
    public struct VerifiedChunk: Sendable {
        public let index: Int
        public let data: [UInt8]
        /// As it travelled, so that it can be handed on without compressing it again.
        public let encoded: EncodedChunk
    }

    public let source: ChunkSource
    /// Holds for what is asked for from now on.
    public var purpose: TransferPurpose {
        get { configuration.purpose }
        set {
            guard newValue != configuration.purpose else { return }
            configuration.purpose = newValue
            channel.connection.keep(.init(governor: configuration.governor, purpose: newValue))
        }
    }
    private var configuration: Configuration
    private let counters: TransferCounters
    private let interrupt: TransferInterrupt
    private let watch: Watch
    private var channel: FrameChannel
    private let buffers: ChunkBuffers
    private let early: EarlyBytes

    /// Bytes that come while an answer is waited for. They are told after what the answer's header says: until its first
    /// byte the source may have waited for the chunk itself, and that must not look like data that comes slowly.
    private final class EarlyBytes {
        var isHeld = false
        var count = 0
    }

    /// Connects, and checks that the certificate names the source that was asked for.
    public init(
        source: ChunkSource, context: TLSContext, verify: PeerVerifier, counters: TransferCounters,
        interrupt: TransferInterrupt = TransferInterrupt(), configuration: Configuration = Configuration(),
        watch: @escaping Watch = { _ in }
    ) throws(TransferError) {
        self.source = source
        self.configuration = configuration
        self.counters = counters
        self.interrupt = interrupt
        self.watch = watch
        let early = EarlyBytes()
        self.early = early
        self.buffers = ChunkBuffers(limit: Self.helpers + 2)
        let deadline = ContinuousClock.now + configuration.connectTimeout
        if interrupt.isInterrupted { throw .interrupted }
        let descriptor = try Socket.connect(source.address, deadline: deadline) { interrupt.isInterrupted }
        let connection = try TLSConnection(descriptor: descriptor, context: context)
        connection.keep(.init(governor: configuration.governor, purpose: configuration.purpose))
        interrupt.attach(connection.socket)
        self.channel = FrameChannel(
            connection: connection, maximumPayloadBytes: Limits.firstFramePayloadBytes,
            watch: { count throws(TransferError) in
                if early.isHeld { early.count += count }
                if count == 0 { try watch(.quiet) } else if !early.isHeld { try watch(.bytes(count)) }
            })
        try connection.handshake(as: .client, deadline: deadline)
        guard connection.agreedOnProtocol else { throw .refused(.unsupportedProtocol) }
        guard let certificate = connection.peerCertificate else { throw .refused(.noCertificate) }
        switch verify(certificate) {
        case .success(let peer):
            guard peer.identity == source.identity else { throw .refused(.identityMismatch) }
        case .failure(let refusal): throw .refused(refusal)
        }
    }

    deinit { interrupt.attach(nil) }

    /// The manifest whose SHA-256 is `digest`. The size bounds what is accepted.
    public func manifest(
        of image: ImageID, digest: ContentDigest, sizeBytes: Int64
    ) throws(TransferError) -> Manifest {
        let limit = Manifest.maximumSerialisedBytes(imageBytes: sizeBytes) + 64
        channel.accept(payloadBytes: max(limit, Limits.firstFramePayloadBytes))
        defer { channel.accept(payloadBytes: Limits.firstFramePayloadBytes) }
        var request = Roost_V1_ManifestRequest()
        request.imageID = Data(image.bytes)
        request.waitMs = UInt32(clamping: min(configuration.manifestWait, configuration.wait).milliseconds)
        try channel.send(.manifestRequest, request, deadline: answerDeadline)
        let frame = try nextFrame(doing: "waiting for the manifest")
        guard frame.type == .manifestAnswer else { throw try refusal(in: frame) }
        guard let answer = try? Roost_V1_ManifestAnswer(serializedBytes: frame.payload) else {
            throw .protocolViolation("the manifest's frame could not be decoded")
        }
        let found = Manifest.digest(of: answer.manifest)
        guard found == digest else { throw .manifestDigestMismatch(expected: digest, found: found) }
        let manifest: Manifest
        do {
            manifest = try Manifest(serialised: Array(answer.manifest))
        } catch {
            throw .manifest(error)
        }
        guard manifest.image == image, manifest.sizeBytes == sizeBytes else {
            throw .protocolViolation("the manifest describes another image than the assignment")
        }
        return manifest
    }

    /// Pulls chunks in the order of `indexes`, several requests under way, and hands each over once it is verified.
    ///
    /// Ends at the first failure; what `deliver` accepted stays accepted. `notYet` means that the source is alive and
    /// waits for the chunk itself.
    public func fetch(
        _ manifest: Manifest, indexes: [Int], deliver: (VerifiedChunk) throws(TransferError) -> Void
    ) throws(TransferError) {
        var asked = 0
        var answered = 0
        try pull(
            manifest,
            next: {
                guard asked < indexes.count, asked - answered < configuration.window else { return nil }
                asked += 1
                return indexes[asked - 1]
            },
            deliver: { chunk throws(TransferError) in
                answered += 1
                try deliver(chunk)
            }, refused: { _, error throws(TransferError) in throw error })
    }

    /// Pulls the chunks that `next` names, which is asked for more after each answer, and hands each over, in that order,
    /// once it is verified. Where chunks come faster than this thread verifies them, others help. Returns when nothing is
    /// asked for and `next` names none.
    ///
    /// - Parameter refused: A chunk that the source does not give now; the connection goes on.
    public func pull(
        _ manifest: Manifest, next: () -> Int?, deliver: (VerifiedChunk) throws(TransferError) -> Void,
        refused: (Int, TransferError) throws(TransferError) -> Void
    ) throws(TransferError) {
        let verifier = ChunkVerifier(manifest: manifest, buffers: buffers)
        let helpers = ParallelVerifier(manifest: manifest, buffers: buffers, threads: Self.helpers)
        defer { helpers.close() }
        var asked: Deque<Int> = []
        var verifying: Deque<Int> = []
        while true {
            while let index = next() {
                try ask(manifest, index)
                asked.append(index)
            }
            let waits = asked.isEmpty || verifying.count > Self.helpers
            if let first = verifying.first, let outcome = helpers.outcome(of: first, waiting: waits) {
                verifying.removeFirst()
                try hand(outcome, to: deliver)
                continue
            }
            guard let index = asked.popFirst() else { return }
            let encoded: EncodedChunk?
            do {
                encoded = try answer(manifest, index, refused: refused)
            } catch {
                // What has come is kept, whatever became of the rest.
                for index in verifying {
                    if let outcome = helpers.outcome(of: index, waiting: true) { try hand(outcome, to: deliver) }
                }
                throw error
            }
            guard let encoded else { continue }
            // In a row that helpers work on, the next one is theirs, too.
            if !verifying.isEmpty || channel.connection.hasPending(manifest.chunkBytes / 2) {
                helpers.submit(index, encoded)
                verifying.append(index)
            } else {
                try hand(verifier.verify(index, encoded), to: deliver)
            }
        }
    }

    /// The answer to the oldest request; `nil` where it was refused.
    private func answer(
        _ manifest: Manifest, _ index: Int, refused: (Int, TransferError) throws(TransferError) -> Void
    ) throws(TransferError) -> EncodedChunk? {
        let frame = try nextAnswer(doing: "waiting for chunk \(index)")
        if frame.type == .chunkAnswer { return try receive(manifest, index, frame) }
        let refusal = try refusal(in: frame)
        switch refusal {
        case .notYet, .notHeld, .notPermitted, .manifestDiffers: try refused(index, refusal)
        default: throw refusal
        }
        return nil
    }

    /// Threads beside the receiving one.
    private static let helpers = max(1, min(3, ProcessInfo.processInfo.activeProcessorCount - 1))

    private func hand(
        _ outcome: Result<VerifiedChunk, TransferError>, to deliver: (VerifiedChunk) throws(TransferError) -> Void
    ) throws(TransferError) {
        let data: [UInt8]
        switch outcome {
        case .success(let chunk):
            try deliver(chunk)
            data = chunk.data
        case .failure(let error):
            counters.corrupt(from: source.identity)
            throw error
        }
        buffers.give(data)
    }

    private func ask(_ manifest: Manifest, _ index: Int) throws(TransferError) {
        var request = Roost_V1_ChunkRequest()
        request.imageID = Data(manifest.image.bytes)
        request.manifestDigest = Data(manifest.digest.bytes)
        request.index = UInt32(index)
        request.waitMs = UInt32(clamping: configuration.wait.milliseconds)
        request.pulseMs = UInt32(clamping: configuration.pulse.milliseconds)
        request.launch = configuration.purpose == .launch
        try channel.send(.chunkRequest, request, deadline: answerDeadline)
    }

    /// The next frame that answers a request; signs of life before it are only shown.
    private func nextAnswer(doing: String) throws(TransferError) -> Frame {
        early.isHeld = true
        while true {
            let frame = try nextFrame(doing: doing)
            guard frame.type == .chunkWaiting else {
                if frame.type != .chunkAnswer { try tellEarlyBytes() }
                return frame
            }
            guard let sign = try? Roost_V1_ChunkWaiting(serializedBytes: frame.payload) else {
                throw .protocolViolation("a sign of life could not be decoded")
            }
            try watch(.waiting(.milliseconds(Int64(sign.waitedMs))))
        }
    }

    private func tellEarlyBytes() throws(TransferError) {
        let count = early.count
        (early.isHeld, early.count) = (false, 0)
        if count > 0 { try watch(.bytes(count)) }
    }

    private func receive(_ manifest: Manifest, _ index: Int, _ frame: Frame) throws(TransferError) -> EncodedChunk {
        guard let answer = try? Roost_V1_ChunkAnswer(serializedBytes: frame.payload), answer.index == UInt32(index)
        else { throw .protocolViolation("the answer is not for chunk \(index)") }
        let size = manifest.chunkSize(index)
        // A frame that is longer than the data it stands for would have been sent raw.
        guard answer.length >= 1, Int(answer.length) <= size else {
            throw .protocolViolation("chunk \(index) was announced with \(answer.length) bytes")
        }
        try watch(.answering(waited: .milliseconds(Int64(answer.waitedMs))))
        try tellEarlyBytes()
        let encoding: EncodedChunk.Encoding
        switch answer.encoding {
        case .raw: encoding = .raw
        case .zstd: encoding = .zstd
        case .unspecified, .UNRECOGNIZED: throw .protocolViolation("chunk \(index) has an unknown encoding")
        }
        let count = Int(answer.length)
        // A frame is kept for the next host of the chain; data is written to the file, and its buffer is free then.
        var bytes =
            encoding == .raw ? buffers.take(count) : [UInt8](unsafeUninitializedCapacity: count) { $1 = count }
        try channel.fill(&bytes, deadline: answerDeadline, doing: "receiving chunk \(index)")
        counters.received(count, from: source.identity)
        return EncodedChunk(encoding: encoding, bytes: bytes)
    }

    private var answerDeadline: ContinuousClock.Instant {
        .now + configuration.wait + configuration.answerTimeout
    }

    private func nextFrame(doing: String) throws(TransferError) -> Frame {
        try channel.next(
            idle: answerDeadline, whole: configuration.wait + configuration.answerTimeout, doing: doing)
    }

    private func refusal(in frame: Frame) throws(TransferError) -> TransferError {
        guard frame.type == .chunkRefusal,
            let refusal = try? Roost_V1_ChunkRefusal(serializedBytes: frame.payload)
        else { throw .protocolViolation("an unexpected frame of type \(frame.type.rawValue) came") }
        return switch refusal.code {
        case .notPermitted: .notPermitted(refusal.sentence)
        case .notHeld: .notHeld(refusal.sentence)
        case .notYet: .notYet
        case .manifestDiffers: .manifestDiffers(refusal.sentence)
        case .malformed, .internal, .unspecified, .UNRECOGNIZED: .peerFailed(refusal.sentence)
        }
    }
}
