import Foundation
import Glibc
public import Logging
import ProcessThreads
public import ProtocolModel
import Synchronization

/// Judges a certificate (DER) that a peer proved to have the key of.
public typealias PeerVerifier = @Sendable (_ leafDER: [UInt8]) -> Result<VerifiedPeer, SessionRefusal>

/// Serves chunks over TLS: one dedicated thread a connection, at most `maximumConnections` of them.
///
/// What a connection can make this process hold is one request frame and one chunk; how long it can hold a thread
/// without progress is bounded by the deadlines of the configuration.
public final class ChunkServer: Sendable {
    public struct Configuration: Sendable {
        /// `host:port`; port 0 takes any.
        public var address: String
        public var credentials: TLSCredentials
        public var maximumConnections = 64
        /// A node needs two or three; one that opens more takes nothing from the others.
        public var maximumConnectionsPerPeer = 8
        public var handshakeTimeout = Duration.seconds(10)
        /// How long a connection may stay without a request.
        public var idleTimeout = Duration.seconds(120)
        /// How long one frame may take from its first byte to its last.
        public var frameTimeout = Duration.seconds(10)
        /// How long one answer may take to be read by the peer.
        public var answerTimeout = Duration.seconds(60)
        /// The longest that an answer is held while its chunk is on its way.
        public var longestWait = Duration.seconds(30)
        /// Shared with whatever else moves images in the process.
        public var governor = TransferGovernor()

        public init(address: String, credentials: TLSCredentials) {
            self.address = address
            self.credentials = credentials
        }
    }

    /// Decides at each request whether a peer may have an image; also where a revoked node ends.
    public typealias Authorise = @Sendable (PeerIdentity, ImageID) -> Bool

    let configuration: Configuration
    let source: any ChunkSourceStore
    let authorise: Authorise
    let verify: PeerVerifier
    let logger: Logger
    public let counters: TransferCounters
    private let context: TLSContext
    private let state = Mutex(State())
    private let threads: ThreadGroup

    private struct State {
        var listener: Int32?
        var port: UInt16 = 0
        var stopping = false
        var next = 0
        var connections: [Int: OpenSocket] = [:]
        var perPeer: [PeerIdentity: Int] = [:]
    }

    public init(
        configuration: Configuration, source: any ChunkSourceStore, authorise: @escaping Authorise,
        verify: @escaping PeerVerifier, logger: Logger, counters: TransferCounters = TransferCounters()
    ) throws(TransferError) {
        self.configuration = configuration
        self.source = source
        self.authorise = authorise
        self.verify = verify
        self.logger = logger
        self.counters = counters
        self.context = try TLSContext(side: .server, credentials: configuration.credentials)
        // One more for the thread that accepts.
        self.threads = ThreadGroup(maximum: configuration.maximumConnections + 1)
    }

    /// The port that it listens on; 0 before `start`.
    public var port: UInt16 { state.withLock { $0.port } }

    var isStopping: Bool { state.withLock { $0.stopping } }

    /// Listens and accepts. Throws where the address is taken.
    public func start() throws(TransferError) {
        let (listener, port) = try Socket.listen(configuration.address, backlog: 128)
        state.withLock { state in
            state.listener = listener
            state.port = port
            state.stopping = false
        }
        _ = threads.start(name: "chunk-accept") { [self] in acceptAll(listener) }
        logger.info("serving chunks", metadata: ["address": "\(configuration.address)", "port": "\(port)"])
    }

    /// Ends all connections and returns when their threads have ended. Blocks: not for the cooperative pool.
    public func stop() {
        let connections = state.withLock { state -> [OpenSocket] in
            state.stopping = true
            // Shut down, not closed: the accepting thread still names the descriptor.
            if let listener = state.listener { shutdown(listener, Int32(SHUT_RDWR)) }
            return Array(state.connections.values)
        }
        for connection in connections { connection.interrupt() }
        threads.waitForAll()
        state.withLock { state in
            if let listener = state.listener { close(listener) }
            state.listener = nil
        }
    }

    private func acceptAll(_ listener: Int32) {
        while let descriptor = Socket.accept(listener) {
            if state.withLock({ $0.stopping }) {
                close(descriptor)
                return
            }
            let started = threads.start(name: "chunk-serve") { [self] in serve(descriptor) }
            if !started {
                note(.busy, peer: Socket.peerName(descriptor))
                close(descriptor)
            }
        }
    }

    private func serve(_ descriptor: Int32) {
        let peerName = Socket.peerName(descriptor)
        let connection: TLSConnection
        do {
            connection = try TLSConnection(descriptor: descriptor, context: context)
        } catch {
            logger.error("chunk connection failed", metadata: ["peer": "\(peerName)", "reason": "\(error)"])
            return
        }
        guard let number = register(connection.socket) else { return }
        defer { unregister(number) }
        do {
            let peer = try admit(connection)
            guard claim(peer) else { throw TransferError.refused(.busy) }
            defer { release(peer) }
            var session = ChunkServerSession(server: self, connection: connection, peer: peer)
            try session.serveAll()
        } catch TransferError.refused(let refusal) {
            note(refusal, peer: peerName)
            connection.finish()
        } catch TransferError.closed, TransferError.interrupted {
            // The usual end.
        } catch {
            logger.notice(
                "chunk connection ended", metadata: ["peer": "\(peerName)", "reason": "\(error)"])
        }
    }

    /// The handshake, and whom the certificate names.
    private func admit(_ connection: TLSConnection) throws(TransferError) -> PeerIdentity {
        do {
            try connection.handshake(as: .server, deadline: .now + configuration.handshakeTimeout)
        } catch .timedOut {
            throw .refused(.handshakeTimeout)
        } catch .tls(let reason) {
            // No TLS, no TLS 1.3, or a key that does not belong to the certificate.
            logger.notice("TLS handshake failed", metadata: ["reason": "\(reason)"])
            throw .refused(.malformedFrame)
        }
        guard connection.agreedOnProtocol else { throw .refused(.unsupportedProtocol) }
        guard let certificate = connection.peerCertificate else { throw .refused(.noCertificate) }
        switch verify(certificate) {
        case .success(let peer): return peer.identity
        case .failure(let refusal): throw .refused(refusal)
        }
    }

    private func register(_ socket: OpenSocket) -> Int? {
        let number = state.withLock { state -> Int? in
            guard !state.stopping else { return nil }
            state.next += 1
            state.connections[state.next] = socket
            return state.next
        }
        if number != nil { counters.connectionsChanged(by: 1) }
        return number
    }

    private func unregister(_ number: Int) {
        state.withLock { $0.connections[number] = nil }
        counters.connectionsChanged(by: -1)
    }

    private func claim(_ peer: PeerIdentity) -> Bool {
        state.withLock { state in
            guard state.perPeer[peer, default: 0] < configuration.maximumConnectionsPerPeer else { return false }
            state.perPeer[peer, default: 0] += 1
            return true
        }
    }

    private func release(_ peer: PeerIdentity) {
        state.withLock { state in
            let left = state.perPeer[peer, default: 1] - 1
            state.perPeer[peer] = left > 0 ? left : nil
        }
    }

    private func note(_ refusal: SessionRefusal, peer: String) {
        counters.refused(refusal)
        logger.warning(
            "chunk connection refused",
            metadata: ["peer": "\(peer)", "code": "\(refusal.rawValue)", "reason": "\(refusal.sentence)"])
    }
}
