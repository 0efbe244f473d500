public import Logging
public import NIOCore
public import NIOPosix
import NIOSSL
public import ProtocolModel
import ProtocolTrust
public import ProtocolWire
public import ServiceLifecycle

/// Serves agents on their port (7401): TLS 1.3, certificates judged by `TrustAnchor`, sessions handed to a backend.
///
/// A client certificate is asked for and not required, and TLS itself refuses none: a node that has not joined yet has
/// none, and each reason to refuse is to reach the agent's log as a `Goodbye` with its own code, which an alert of TLS
/// could not say. Possession of the key is proved by the handshake all the same.
public struct AgentListener: Service {
    public struct Configuration: Sendable {
        public var host: String
        /// 0 takes a free port.
        public var port: Int
        /// The manager's key and certificate, and the authority's certificate, which joining agents compare with the
        /// fingerprint that they were given.
        public var keyPEM: String
        public var certificateDER: [UInt8]
        public var authorityDER: [UInt8]
        public var times: SessionTimes
        public var versions: ClosedRange<UInt32>
        /// Connections that have not been welcomed yet; more wait in the kernel's queue, up to `backlog`.
        public var pendingConnections: Int
        /// The share of those that one address may hold; more are closed at once.
        public var pendingConnectionsPerAddress: Int

        public init(
            host: String = "::", port: Int = 7401, keyPEM: String, certificateDER: [UInt8], authorityDER: [UInt8],
            times: SessionTimes = SessionTimes(), versions: ClosedRange<UInt32> = ProtocolVersion.supported,
            pendingConnections: Int = 128, pendingConnectionsPerAddress: Int = 64
        ) {
            self.host = host
            self.port = port
            self.keyPEM = keyPEM
            self.certificateDER = certificateDER
            self.authorityDER = authorityDER
            self.times = times
            self.versions = versions
            self.pendingConnections = pendingConnections
            self.pendingConnectionsPerAddress = pendingConnectionsPerAddress
        }
    }

    /// Connections that wait in the kernel before they are taken. Together with `pendingConnections` no more than a busy manager
    /// gets through within an agent's patience (10 s): were there more, each would be given up by its agent before its turn
    /// came, and the manager would do nothing but work for those who have gone. Who finds no place is told nothing, and the
    /// kernel of that host tries again.
    static let backlog: Int32 = 512

    public let counters: ListenerCounters
    private let configuration: Configuration
    private let shared: ListenerShared
    private let context: NIOSSLContext
    private let group: any EventLoopGroup
    private let onListening: @Sendable (Int) -> Void

    /// Throws `TrustError` or what NIOSSL says about the key and certificate. `onListening` is told the port.
    public init(
        configuration: Configuration, backend: any FleetBackend, time: any TimeSource = SystemTime(), logger: Logger,
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        onListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) throws {
        let counters = ListenerCounters()
        self.counters = counters
        self.configuration = configuration
        self.group = group
        self.onListening = onListening
        self.shared = ListenerShared(
            backend: backend, anchor: try TrustAnchor(authorityDER: configuration.authorityDER),
            times: configuration.times, versions: configuration.versions, time: time, logger: logger,
            counters: counters,
            gate: AdmissionGate(
                total: configuration.pendingConnections, perAddress: configuration.pendingConnectionsPerAddress))
        self.context = try Self.makeContext(configuration)
    }

    private static func makeContext(_ configuration: Configuration) throws -> NIOSSLContext {
        let chain = try [configuration.certificateDER, configuration.authorityDER].map {
            try NIOSSLCertificate(bytes: $0, format: .der)
        }
        let key = try NIOSSLPrivateKey(bytes: Array(configuration.keyPEM.utf8), format: .pem)
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        tls.minimumTLSVersion = .tlsv13
        tls.applicationProtocols = [ApplicationProtocol.control]
        tls.certificateVerification = .optionalVerification
        tls.trustRoots = .certificates([chain[1]])
        tls.shutdownTimeout = .seconds(1)
        return try NIOSSLContext(configuration: tls)
    }

    /// Serves until graceful shutdown or cancellation; then ends every session with `shutting_down` and returns once the
    /// backend knows of each.
    public func run() async throws {
        let server = try await bootstrap().bind(host: configuration.host, port: configuration.port).get()
        let port = server.localAddress?.port ?? configuration.port
        shared.logger.info("listening for agents", metadata: ["host": "\(configuration.host)", "port": "\(port)"])
        onListening(port)
        // Not a child of this task: the backend's last calls are to run to their end even where this task is cancelled.
        let jobs = Task {
            await withDiscardingTaskGroup { group in
                for await job in shared.jobs { group.addTask { await job() } }
            }
        }
        try? await gracefulShutdown()  // cancellation asks for the same
        try? await server.close().get()
        await shared.stop()
        await jobs.value
        shared.logger.info("stopped listening for agents")
    }

    private func bootstrap() -> ServerBootstrap {
        let (shared, context) = (self.shared, self.context)
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptHandler(gate: shared.gate))
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let address = channel.remoteAddress
                    let host = address?.ipAddress ?? "unknown"
                    guard shared.gate.enter(host) else {
                        shared.counters.refused(.busy)
                        throw SessionRefusal.busy
                    }
                    let tls = NIOSSLServerHandler(context: context) { _, verdict in
                        // The handler behind judges the certificate, with a reason; see above.
                        verdict.succeed(.certificateVerified)
                    }
                    let text = host.contains(":") ? "[\(host)]:\(address?.port ?? 0)" : "\(host):\(address?.port ?? 0)"
                    let agent = AgentChannelHandler(shared: shared, remoteHost: host, remoteAddress: text)
                    do {
                        try channel.pipeline.syncOperations.addHandlers(tls, agent)
                    } catch {
                        shared.gate.leave(host)
                        throw error
                    }
                }
            }
    }
}

/// Accepts no more connections than the gate allows; the rest wait in the kernel's queue.
private final class AcceptHandler: ChannelOutboundHandler {
    typealias OutboundIn = Never

    private let gate: AdmissionGate

    init(gate: AdmissionGate) { self.gate = gate }

    func read(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        guard
            gate.mayAccept(orResume: {
                loop.execute {
                    let (handler, context) = bound.value
                    handler.read(context: context)
                }
            })
        else { return }
        context.read()
    }
}
