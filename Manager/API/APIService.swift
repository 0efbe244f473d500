import Hummingbird
import HummingbirdCore
import HummingbirdTLS
public import Logging
import NIOCore
public import NIOSSL
public import ServiceLifecycle

/// The manager's HTTPS API, as a service: it listens once it runs, and on graceful shutdown finishes what it has begun.
public struct APIService: Service {
    public struct Configuration: Sendable {
        public var address: String
        /// 0: any free port, which `onListening` tells.
        public var port: Int
        /// PEM files of the server's certificate chain, leaf first, and of its key. `nil`: no TLS, for tests alone.
        public var tls: TLS?
        public var maximumConnections: Int
        /// Ends a connection that sends nothing, or reads nothing, for this long.
        public var idleTimeout: Duration
        /// After a graceful shutdown began, what still runs is cut off after this long.
        public var shutdownGrace: Duration

        public init(
            address: String = "0.0.0.0", port: Int = 7400, tls: TLS?, maximumConnections: Int = 4096,
            idleTimeout: Duration = .seconds(60), shutdownGrace: Duration = .seconds(3)
        ) {
            self.address = address
            self.port = port
            self.tls = tls
            self.maximumConnections = maximumConnections
            self.idleTimeout = idleTimeout
            self.shutdownGrace = shutdownGrace
        }
    }

    public struct TLS: Sendable {
        public var chain: [NIOSSLCertificate]
        public var key: NIOSSLPrivateKey

        public init(chain: [NIOSSLCertificate], key: NIOSSLPrivateKey) {
            self.chain = chain
            self.key = key
        }

        /// Reads PEM text.
        public init(chainPEM: String, keyPEM: String) throws {
            chain = try NIOSSLCertificate.fromPEMBytes(Array(chainPEM.utf8))
            key = try NIOSSLPrivateKey(bytes: Array(keyPEM.utf8), format: .pem)
        }

        /// TLS 1.2 or newer, with forward secrecy and authenticated encryption alone; HTTP/1.1.
        var configuration: TLSConfiguration {
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
            configuration.minimumTLSVersion = .tlsv12
            // Of TLS 1.2; those of 1.3 are all of this kind, and not to be chosen.
            configuration.cipherSuiteValues = [
                .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ]
            configuration.applicationProtocols = ["http/1.1"]
            // How long a peer may take to say good-bye; the default would hold up a stop for five seconds.
            configuration.shutdownTimeout = .seconds(1)
            return configuration
        }
    }

    private let configuration: Configuration
    private let application: Application<Responder>

    /// - Parameter onListening: told the port once connections are taken.
    /// - Throws: what is wrong with the certificate or its key.
    public init(
        configuration: Configuration, services: Services, logger: Logger,
        onListening: @escaping @Sendable (Int) async -> Void = { _ in }
    ) throws {
        self.configuration = configuration
        let responder = Self.makeResponder(services)
        let stall = TimeAmount(configuration.idleTimeout)
        var http = HTTP1Channel.Configuration(
            additionalChannelHandlers: [StallGuard(limit: stall)], idleTimeout: stall)
        http.httpDecoder = .init(maxHeaderFieldSize: 16 * 1024, maxHeaderListSize: 32 * 1024, maxHeaderFieldCount: 100)
        let plain = HTTPServerBuilder.http1(configuration: http)
        application = Application(
            responder: responder,
            server: try configuration.tls.map { try .tls(plain, tlsConfiguration: $0.configuration) } ?? plain,
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.address, port: configuration.port), serverName: nil,
                backlog: 1024, reuseAddress: true,
                availableConnectionsDelegate: MaximumAvailableConnections(
                    configuration.maximumConnections, logger: logger)),
            onServerRunning: { channel in await onListening(channel.localAddress?.port ?? 0) },
            logger: logger)
    }

    static func makeResponder(_ services: Services) -> Responder {
        let metrics = RequestMetrics()
        services.metrics.add { metrics.families }
        return Responder(table: RouteTable(APIRoutes.all), services: services, metrics: metrics)
    }

    /// For tests: the application without TLS, as Hummingbird's test client wants it.
    static func makeApplication(_ services: Services, logger: Logger) -> Application<Responder> {
        Application(responder: makeResponder(services), logger: logger)
    }

    public func run() async throws {
        let grace = configuration.shutdownGrace
        let application = application
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await application.run() }
            group.addTask {
                // A stream or an upload must not hold the manager's stop for as long as its client likes.
                try? await gracefulShutdown()
                try? await Task.sleep(for: grace)
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

}
