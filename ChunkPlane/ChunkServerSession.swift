import Foundation
import Glibc
import Logging
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SwiftProtobuf

/// The requests of one admitted connection, answered in the order in which they came.
struct ChunkServerSession {
    /// Requests are a few dozen bytes; anything longer is not one.
    static let maximumRequestBytes = 1024
    /// A peer cannot make this host send more often than this.
    private static let shortestPulse = Duration.milliseconds(50)
    /// As much as the kernel takes as one large packet.
    private static let gatheredBytes = 64 << 10

    let server: ChunkServer
    let peer: PeerIdentity
    private var channel: FrameChannel
    /// Chunks that lie in files go through it: small enough to stay in the processor's cache between reading and TLS.
    private var pieces = [UInt8](repeating: 0, count: 128 << 10)

    init(server: ChunkServer, connection: TLSConnection, peer: PeerIdentity) {
        self.server = server
        self.peer = peer
        self.channel = FrameChannel(connection: connection, maximumPayloadBytes: Self.maximumRequestBytes)
        connection.gather(Self.gatheredBytes)
    }

    /// Serves until the peer leaves, breaks the protocol or stays silent.
    mutating func serveAll() throws(TransferError) {
        while true {
            let frame = try channel.next(
                idle: .now + server.configuration.idleTimeout, whole: server.configuration.frameTimeout,
                doing: "waiting for a request")
            switch frame.type {
            case .manifestRequest: try answerManifest(frame)
            case .chunkRequest: try answerChunk(frame)
            default: throw .refused(.unexpectedMessage)
            }
            try channel.connection.flush(deadline: answerDeadline, doing: "sending an answer")
        }
    }

    private var answerDeadline: ContinuousClock.Instant { .now + server.configuration.answerTimeout }

    private func answerManifest(_ frame: Frame) throws(TransferError) {
        guard let request = try? Roost_V1_ManifestRequest(serializedBytes: frame.payload),
            let image = ImageID(bytes: request.imageID)
        else { throw .refused(.malformedMessage) }
        switch manifest(of: image, waitingUpTo: .milliseconds(Int64(request.waitMs))) {
        case nil: try refusePermission(0, image)
        case .manifest(let serialised):
            var answer = Roost_V1_ManifestAnswer()
            answer.manifest = Data(serialised)
            try channel.send(.manifestAnswer, answer, deadline: answerDeadline)
        case .notYet: try refuse(0, .notYet, "the image's manifest is on its way here")
        case .notHeld: try refuse(0, .notHeld, "image \(image) is not held here")
        }
    }

    /// Waits where the chain is just being set up: assignments reach its hosts one after another, and so does the manifest.
    /// `nil` where the peer is not permitted.
    private func manifest(of image: ImageID, waitingUpTo limit: Duration) -> ManifestReading? {
        let deadline = ContinuousClock.now + min(limit, server.configuration.longestWait)
        while true {
            let reading = server.authorise(peer, image) ? server.source.manifest(of: image) : nil
            switch reading {
            case .manifest, .notHeld: return reading
            case .notYet, nil: if .now >= deadline || server.isStopping { return reading }
            }
            // Far less than a chunk takes. What is waited for has many makers, none of which should know of this.
            usleep(5_000)
        }
    }

    private mutating func answerChunk(_ frame: Frame) throws(TransferError) {
        guard let request = try? Roost_V1_ChunkRequest(serializedBytes: frame.payload),
            let image = ImageID(bytes: request.imageID),
            let digest = ContentDigest(bytes: request.manifestDigest)
        else { throw .refused(.malformedMessage) }
        guard server.authorise(peer, image) else { return try refusePermission(request.index, image) }
        channel.connection.keep(
            .init(governor: server.configuration.governor, purpose: request.launch ? .launch : .prefill))
        let (reading, waited) = try read(request, of: image, manifest: digest)
        switch reading {
        case .chunk(let chunk):
            var answer = Roost_V1_ChunkAnswer()
            answer.index = request.index
            answer.encoding = chunk.encoding == .zstd ? .zstd : .raw
            answer.waitedMs = UInt32(clamping: waited.milliseconds)
            answer.length = UInt32(chunk.count)
            try send(chunk, as: answer)
            server.counters.served(chunk.count, to: peer)
        case .notYet: try refuse(request.index, .notYet, "the chunk is on its way here")
        case .notHeld: try refuse(request.index, .notHeld, "image \(image) is not held here")
        case .manifestDiffers: try refuse(request.index, .manifestDiffers, "image \(image) has another manifest here")
        case .outOfRange: try refuse(request.index, .malformed, "image \(image) has no chunk \(request.index)")
        case .failed(let reason):
            server.logger.error(
                "a chunk could not be read",
                metadata: ["image": "\(image)", "chunk": "\(request.index)", "reason": "\(reason)"])
            try refuse(request.index, .internal, "the chunk could not be read here")
        }
    }

    /// Waits for a chunk that is on its way here, and shows meanwhile that it is this chunk which is missing and nobody dead.
    private func read(
        _ request: Roost_V1_ChunkRequest, of image: ImageID, manifest: ContentDigest
    ) throws(TransferError) -> (ChunkReading, waited: Duration) {
        let limit = min(Duration.milliseconds(Int64(request.waitMs)), server.configuration.longestWait)
        let pulse = request.pulseMs == 0 ? limit : max(.milliseconds(Int64(request.pulseMs)), Self.shortestPulse)
        let start = ContinuousClock.now
        while true {
            let waited = ContinuousClock.now - start
            let left = max(limit - waited, .zero)
            let reading = server.source.chunk(
                Int(request.index), of: image, manifest: manifest, waitingUpTo: min(left, pulse))
            guard case .notYet = reading, left > pulse else { return (reading, ContinuousClock.now - start) }
            var sign = Roost_V1_ChunkWaiting()
            sign.index = request.index
            sign.waitedMs = UInt32(clamping: (ContinuousClock.now - start).milliseconds)
            try channel.send(.chunkWaiting, sign, deadline: answerDeadline)
            try channel.connection.flush(deadline: answerDeadline, doing: "sending a sign of life")
        }
    }

    /// The header goes out together with the first piece.
    private mutating func send(_ chunk: EncodedChunk, as answer: Roost_V1_ChunkAnswer) throws(TransferError) {
        let deadline = answerDeadline
        let channel = channel
        var isFirst = true
        let isRead = try chunk.forEachPiece(through: &pieces) { (piece) throws(TransferError) in
            if isFirst { try channel.send(.chunkAnswer, answer, deadline: deadline) }
            isFirst = false
            try channel.connection.write(piece, deadline: deadline, doing: "sending a chunk")
        }
        guard !isRead else { return }
        server.logger.error("a chunk could not be read", metadata: ["chunk": "\(answer.index)"])
        guard isFirst else { throw .closed }
        try refuse(answer.index, .internal, "the chunk could not be read here")
    }

    private func refusePermission(_ index: UInt32, _ image: ImageID) throws(TransferError) {
        server.logger.notice(
            "chunk request refused",
            metadata: ["code": "not_permitted", "peer": "\(peer)", "image": "\(image)"])
        try refuse(index, .notPermitted, "image \(image) is not to be given to this node")
    }

    private func refuse(
        _ index: UInt32, _ code: Roost_V1_ChunkRefusal.Code, _ sentence: String
    ) throws(TransferError) {
        var refusal = Roost_V1_ChunkRefusal()
        refusal.index = index
        refusal.code = code
        refusal.sentence = sentence
        try channel.send(.chunkRefusal, refusal, deadline: answerDeadline)
    }
}
