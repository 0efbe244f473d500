import AgentManagers
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import Synchronization

/// Why no TLS connection to a manager came about.
enum DialError: Error, Equatable {
    case unreachable(String)
    /// The other end is no manager of the site; the reason is this side's.
    case notTrusted(SessionRefusal)
    /// The chain does not hold the authority of the given fingerprint.
    case fingerprintDiffers
    case handshakeFailed(String)
}

/// A TLS connection to a manager, with bounded buffers in both directions.
typealias ManagerChannel = NIOAsyncChannel<ByteBuffer, ByteBuffer>

/// Dials managers.
struct ManagerDialer: Sendable {
    /// Judges the chain that the other end presents, leaf first.
    typealias Judge = @Sendable ([[UInt8]]) -> Result<Void, DialError>

    let group: any EventLoopGroup
    /// For TCP and TLS together, each.
    var timeout = Duration.seconds(10)

    /// Connects, and proves that the other end is who `judge` wants, before any byte of ours is sent. The host's name is
    /// not compared with the certificate: a manager is known by the authority's signature and its role.
    func dial(
        _ address: ManagerAddress, identity: (keyPEM: String, certificateDER: [UInt8])?, judge: @escaping Judge
    ) async throws(DialError) -> ManagerChannel {
        let verdict = Verdict()
        let channel: ManagerChannel
        let secured: EventLoopFuture<Void>
        do {
            let context = try Self.makeContext(identity)
            (channel, secured) = try await ClientBootstrap(group: group)
                .connectTimeout(TimeAmount(timeout))
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .connect(host: address.host, port: address.port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let promise = channel.eventLoop.makePromise(of: Void.self)
                        let tls = try NIOSSLClientHandler(context: context, serverHostname: nil) { chain, promise in
                            let result = judge(chain.compactMap { try? $0.toDERBytes() })
                            if case .failure(let error) = result { verdict.set(error) }
                            promise.succeed((try? result.get()) == nil ? .failed : .certificateVerified)
                        }
                        let waiter = HandshakeWaiter(promise: promise, timeout: TimeAmount(timeout))
                        try channel.pipeline.syncOperations.addHandlers(tls, waiter)
                        let wrapped = try ManagerChannel(
                            wrappingChannelSynchronously: channel,
                            configuration: .init(isOutboundHalfClosureEnabled: false))
                        return (wrapped, promise.futureResult)
                    }
                }
        } catch {
            throw .unreachable("\(error)")
        }
        do {
            try await secured.get()
            return channel
        } catch {
            try? await channel.channel.close().get()
            throw verdict.error ?? .handshakeFailed("\(error)")
        }
    }

    private static func makeContext(_ identity: (keyPEM: String, certificateDER: [UInt8])?) throws -> NIOSSLContext {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv13
        tls.applicationProtocols = [ApplicationProtocol.control]
        tls.certificateVerification = .noHostnameVerification
        // The judge alone decides; the system's store has no say, and loading it would cost memory.
        tls.trustRoots = .certificates([])
        tls.shutdownTimeout = .seconds(1)
        if let identity {
            tls.certificateChain = [.certificate(try NIOSSLCertificate(bytes: identity.certificateDER, format: .der))]
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(identity.keyPEM.utf8), format: .pem))
        }
        return try NIOSSLContext(configuration: tls)
    }
}

/// What the judge said, for the error that the caller sees.
private final class Verdict: Sendable {
    private let state = Mutex<DialError?>(nil)
    var error: DialError? { state.withLock { $0 } }
    func set(_ error: DialError) { state.withLock { $0 = error } }
}

/// Tells when TLS stands, or why not.
private final class HandshakeWaiter: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let promise: EventLoopPromise<Void>
    private let timeout: TimeAmount
    private var timer: Scheduled<Void>?

    init(promise: EventLoopPromise<Void>, timeout: TimeAmount) {
        self.promise = promise
        self.timeout = timeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let (promise, timeout) = (self.promise, self.timeout)
        timer = context.eventLoop.scheduleTask(in: timeout) { promise.fail(ChannelError.connectTimeout(timeout)) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { finish(.failure(ChannelError.eof)) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent { finish(.success(())) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        finish(.failure(error))
        context.fireErrorCaught(error)
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish(.failure(ChannelError.eof))
        context.fireChannelInactive()
    }

    private func finish(_ result: Result<Void, any Error>) {
        timer?.cancel()
        promise.completeWith(result)
    }
}
