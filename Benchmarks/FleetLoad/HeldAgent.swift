import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SwiftProtobuf

/// One agent of a `FleetLoop`: dials, keeps its session, comes back after a loss as `AgentUplink` does.
final class HeldAgent: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    struct Identity: Sendable {
        var node: NodeID
        var instances: [InstanceID]
        var certificate: [UInt8]
        var keyPEM: String
        var address: SocketAddress
        /// How long its guests take to shut down; `nil`: it says nothing of guests.
        var shutdown: Duration?
    }

    private static let usageInterval = Duration.seconds(10)

    private let identity: Identity
    private unowned let fleet: FleetLoop
    private let boot = BootID.generate(at: SystemTime().timestamp)
    private let spool = SpoolID.generate(at: SystemTime().timestamp)
    private var session = AgentSession()
    private var decoder = FrameDecoder()
    private var context: ChannelHandlerContext?
    private var backoff = Backoff(first: .milliseconds(500), maximum: .seconds(30), jitter: 1)
    private var dialAt: Uptime?
    private var isDialling = false
    private var revision: UInt64 = 0
    private var batch: UInt64 = 0
    private var sampledAt = Uptime(sinceStart: .zero)
    private var nextSample = Uptime(sinceStart: .zero)
    private var unacknowledged = false

    init(_ identity: Identity, of fleet: FleetLoop) {
        self.identity = identity
        self.fleet = fleet
    }

    func dial(after wait: Duration, now: Uptime) { dialAt = now + wait }

    func tick(at now: Uptime) {
        if let due = dialAt, now >= due, !isDialling {
            dialAt = nil
            dial()
        }
        perform(session.tick(at: now), at: now)
        guard context != nil, case .established = session.state, !identity.instances.isEmpty, !unacknowledged,
            now >= nextSample
        else { return }
        sendUsage(at: now)
    }

    // MARK: Connecting

    private func dial() {
        isDialling = true
        let bound = NIOLoopBound(self, eventLoop: fleet.loop)
        do {
            // Made for each attempt, and gone with it: kept, ten thousands of them would fill the memory.
            let tls = try Self.context(identity)
            ClientBootstrap(group: fleet.loop)
                .bind(to: identity.address)
                .connectTimeout(.seconds(10))
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 2048))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handler = try NIOSSLClientHandler(context: tls, serverHostname: nil) { _, promise in
                            promise.succeed(.certificateVerified)
                        }
                        try channel.pipeline.syncOperations.addHandlers(handler, bound.value)
                    }
                }
                .connect(to: fleet.manager)
                .whenFailure { _ in bound.value.ended() }
        } catch {
            ended()
        }
    }

    private static func context(_ identity: Identity) throws -> NIOSSLContext {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv13
        tls.applicationProtocols = [ApplicationProtocol.control]
        tls.certificateVerification = .noHostnameVerification
        tls.trustRoots = .certificates([])
        tls.certificateChain = [.certificate(try NIOSSLCertificate(bytes: identity.certificate, format: .der))]
        tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(identity.keyPEM.utf8), format: .pem))
        return try NIOSSLContext(configuration: tls)
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        session = AgentSession()
        decoder = FrameDecoder()
        let hello = Roost_V1_Hello.with {
            $0.nodeID = identity.node.bytes
            $0.siteID = fleet.site.bytes
            $0.bootID = boot.bytes
            $0.processID = boot.bytes
            $0.protocolMinimum = ProtocolVersion.minimum
            $0.protocolMaximum = ProtocolVersion.current
            $0.softwareVersion = SimulatedAgent.version
            $0.appliedRevision = revision
        }
        // Behind the TLS handshake, which holds it back.
        let now = SystemTime().uptime
        perform(session.start(hello, at: now), at: now)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        context.fireChannelInactive()
        ended()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func ended() {
        guard isDialling else { return }
        isDialling = false
        context = nil
        var stood = false
        if case .established = session.state { stood = true }
        if case .closed = session.state, isOpen { stood = true }
        let wasOpen = isOpen
        isOpen = false
        fleet.count {
            if wasOpen {
                $0.open -= 1
                $0.lost += 1
            } else {
                $0.failed += 1
            }
        }
        _ = session.disconnected()
        if stood { backoff.reset() }
        unacknowledged = false
        var random = SystemRandomNumberGenerator()
        dial(after: backoff.next(using: &random), now: SystemTime().uptime)
    }

    private var isOpen = false

    // MARK: The session

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        unwrapInboundIn(data).withUnsafeReadableBytes { decoder.append($0) }
        let now = SystemTime().uptime
        do {
            while let frame = try decoder.next() { perform(session.received(frame, at: now), at: now) }
        } catch {
            context.close(promise: nil)
        }
    }

    private func perform(_ actions: [AgentSession.Action], at now: Uptime) {
        for action in actions {
            switch action {
            case .send(let message): send(message)
            case .established:
                isOpen = true
                fleet.count { $0.open += 1 }
                send(.inventory(SimulatedAgent.inventory(name: "populated")))
                send(.statusReport(.with { $0.full = true }))
                // Not all at once, though all may have come at once.
                sampledAt = now
                nextSample = now + Self.usageInterval * Double.random(in: 0...1)
            case .deliver(.assignmentSet(let set)):
                revision = set.revision
                send(.assignmentAcknowledgement(.with { $0.revision = set.revision }))
                if let shutdown = identity.shutdown { follow(set, shutdown) }
            case .deliver(.usageAcknowledgement): unacknowledged = false
            case .heartbeatDue(let sequence):
                fleet.count { $0.heartbeats += 1 }
                send(
                    .heartbeat(
                        .with {
                            $0.sequence = sequence
                            $0.loadAverage1M = 1.5
                            $0.memoryAvailableBytes = 100 << 30
                            $0.cacheAvailableBytes = 1 << 40
                            $0.appliedRevision = revision
                        }))
            case .close: context?.close(promise: nil)
            case .deliver, .stream: continue
            }
        }
    }

    /// Guests run at once, and end when their time to shut down is over.
    private func follow(_ set: Roost_V1_AssignmentSet, _ shutdown: Duration) {
        var (now, later) = (set, set)
        now.instances.removeAll { $0.desired != .running }
        later.instances.removeAll { $0.desired == .running }
        later.images = []
        report(now)
        guard !later.instances.isEmpty else { return }
        let bound = NIOLoopBound(self, eventLoop: fleet.loop)
        let ended = later
        fleet.loop.scheduleTask(in: .milliseconds(shutdown.milliseconds)) { bound.value.report(ended) }
    }

    private func report(_ set: Roost_V1_AssignmentSet) {
        let report = SimulatedAgent.report(of: set, at: SystemTime().timestamp)
        if !report.images.isEmpty || !report.instances.isEmpty { send(.statusReport(report)) }
    }

    private func sendUsage(at now: Uptime) {
        let clock = SystemTime().timestamp
        let from = (clock - min(.seconds(60), max(.milliseconds(1), now - sampledAt))).milliseconds
        sampledAt = now
        nextSample = now + Self.usageInterval
        batch += 1
        unacknowledged = true
        let (instances, number) = (identity.instances, batch)
        fleet.count { $0.samples += instances.count }
        send(
            .usageBatch(
                .with {
                    $0.spoolID = spool.bytes
                    $0.number = number
                    $0.samples = instances.map { instance in
                        .with {
                            $0.instanceID = instance.bytes
                            $0.fromMs = from
                            $0.toMs = clock.milliseconds
                            $0.vcpus = 1
                            $0.memoryBytes = 512 << 20
                            $0.cpuTimeNs = 1_000_000_000
                            $0.diskReadBytes = 4096
                            $0.networkReceiveBytes = 1500
                        }
                    }
                }))
    }

    private func send(_ message: ProtocolWire.Message) {
        guard let context, let bytes = try? message.encoded() else { return }
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: bytes)), promise: nil)
    }
}
