import Logging
import NIOCore
import NIOSSL
import NIOTLS
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire

/// Carries one connection of an agent: bytes to frames, frames to the session machine, its actions to the socket and the
/// backend. Lives on its channel's event loop; an idle session costs no task.
final class AgentChannelHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    /// How long a peer may take to read our goodbye before the socket is closed under it.
    static let farewell = TimeAmount.seconds(2)

    private let shared: ListenerShared
    private let remoteHost: String
    private let remoteAddress: String
    private var context: ChannelHandlerContext?
    private var session: ManagerSession?
    private var decoder = FrameDecoder(maximumPayloadBytes: Limits.firstFramePayloadBytes)
    private var connection: AgentConnection?
    private var timer: RepeatedTask?
    private var handshakeTimer: Scheduled<Void>?
    /// Backend calls that wait for the one in progress.
    private var waiting: [BackendWork] = []
    private var isWorking = false
    private var readHeld = false
    private var isPending = true
    private var isRegistered = false
    private var isClosing = false
    private var isInactive = false
    /// `open` took the session in, so that `closed` is owed.
    private var isOwedClosed = false
    /// What the backend sends before `Welcome` has gone out.
    private var held: [[UInt8]] = []

    init(shared: ListenerShared, remoteHost: String, remoteAddress: String) {
        self.shared = shared
        self.remoteHost = remoteHost
        self.remoteAddress = remoteAddress
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        shared.counters.update {
            $0.accepted += 1; $0.pending += 1
        }
        isRegistered = shared.add(ObjectIdentifier(self), wire(on: context.eventLoop))
        guard isRegistered else {
            context.close(promise: nil)
            return
        }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        handshakeTimer = context.eventLoop.scheduleTask(in: TimeAmount(shared.times.handshake)) {
            guard bound.value.session == nil, !bound.value.isInactive else { return }
            bound.value.handshakeFailed("no TLS handshake in time")
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        becameInactive()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        becameInactive()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent {
            handshakeCompleted(context: context, negotiated: negotiated)
        } else if case .inputClosed? = event as? ChannelEvent {
            context.close(promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if session == nil {
            handshakeFailed("\(error)")
        } else {
            context.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        unwrapInboundIn(data).withUnsafeReadableBytes { decoder.append($0) }
        pump()
    }

    /// Reading stops while the backend works on what this agent sent before. A closing connection goes on reading, and
    /// drops what comes: closing a socket with unread bytes would destroy our goodbye on its way.
    func read(context: ChannelHandlerContext) {
        if isWorking, !isClosing {
            readHeld = true
        } else {
            context.read()
        }
    }

    // MARK: Handshake

    private func handshakeCompleted(context: ChannelHandlerContext, negotiated: String?) {
        handshakeTimer?.cancel()
        let certificate = try? context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self).peerCertificate
        let credential = credential(certificate)
        if case .verified(let peer) = credential, negotiated == ApplicationProtocol.control {
            begin(.none)
            enqueue(.admit(peer))
        } else {
            begin(negotiated == ApplicationProtocol.control ? credential : .rejected(.unsupportedProtocol))
        }
    }

    private func credential(_ certificate: NIOSSLCertificate?) -> PeerCredential {
        guard let certificate else { return .none }
        guard let der = try? certificate.toDERBytes() else { return .rejected(.unknownAuthority) }
        switch shared.anchor.verify(leafDER: der, at: shared.time.timestamp) {
        case .failure(let refusal): return .rejected(refusal)
        case .success(let peer): return peer.node == nil ? .rejected(.wrongCertificateRole) : .verified(peer)
        }
    }

    private func begin(_ credential: PeerCredential) {
        var session = ManagerSession(
            credential: credential, times: shared.times, versions: shared.versions, at: shared.time.uptime)
        let actions = session.start()
        self.session = session
        startTicking()
        perform(actions)
    }

    private func startTicking() {
        guard timer == nil, let context else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let interval = TimeAmount(min(shared.times.heartbeatInterval, shared.times.handshake))
        timer = context.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
            bound.value.tick()
        }
    }

    private func handshakeFailed(_ why: String) {
        guard !isClosing else { return }
        isClosing = true
        shared.counters.update { $0.handshakesFailed += 1 }
        shared.logger.debug(
            "TLS handshake failed", metadata: ["remote_address": "\(remoteAddress)", "error": "\(why)"])
        context?.close(promise: nil)
    }

    // MARK: Session

    private func pump() {
        while !isWorking, !isClosing {
            do throws(SessionRefusal) {
                guard let frame = try decoder.next() else { return }
                apply { $0.received(frame, at: shared.time.uptime, managerTime: shared.time.timestamp) }
            } catch {
                refuse(error)
            }
        }
    }

    private func tick() {
        // While the backend works nothing is read, so that silence says nothing about the peer.
        guard !isWorking else { return }
        apply { $0.tick(at: shared.time.uptime) }
    }

    func refuse(_ refusal: SessionRefusal) {
        if session == nil {
            context?.close(promise: nil)
        } else {
            let leader = refusal == .notLeader ? shared.backend.leaderAddress : nil
            apply { $0.refuse(refusal, leader: leader) }
        }
    }

    private func apply(_ event: (inout ManagerSession) -> [ManagerSession.Action]) {
        guard var session = self.session else { return }
        let actions = event(&session)
        self.session = session
        perform(actions)
    }

    private func perform(_ actions: [ManagerSession.Action]) {
        for action in actions {
            switch action {
            case .send(let message):
                if let bytes = try? message.encoded() { put(bytes, promise: nil) }
            case .open(let hello, let peer):
                guard let node = peer.node, let context else { continue }
                let connection = AgentConnection(
                    nodeID: node, remoteAddress: remoteAddress, wire: wire(on: context.eventLoop))
                self.connection = connection
                enqueue(.open(hello, peer, connection))
            case .enrol(let request, let peer):
                enqueue(.enrol(request, peer, remoteAddress: remoteAddress))
            case .deliver(let message):
                guard let connection else { continue }
                // Most of what comes is heartbeats, which need no task of their own; but never before what came earlier.
                if !isWorking, waiting.isEmpty, shared.backend.receivedAtOnce(message, session: connection) { continue }
                enqueue(.deliver(message, connection))
            case .suspect, .recovered:
                if let connection { enqueue(.liveness(connection, suspect: action == .suspect)) }
            case .stream:
                // Nothing on this side opens streams, and the table refuses those that it did not open.
                continue
            case .close(let end):
                close(end)
            }
        }
    }

    private func close(_ end: SessionEnd) {
        guard !isClosing, let context else { return }
        isClosing = true
        if case .ours(let refusal) = end { shared.counters.refused(refusal) }
        log(end)
        connection?.ended(end.refusal)
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        // An empty write behind the goodbye says when the kernel has it; a peer that does not read is not waited for.
        context.writeAndFlush(wrapOutboundOut(ByteBuffer())).whenComplete { _ in bound.value.close(promise: nil) }
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.farewell) { channel.close(promise: nil) }
        if readHeld {
            readHeld = false
            context.read()
        }
    }

    private func log(_ end: SessionEnd) {
        var metadata: Logger.Metadata = ["remote_address": "\(remoteAddress)"]
        if let connection { metadata["node"] = "\(connection.nodeID)" }
        switch end {
        case .ours(let refusal):
            metadata["code"] = "\(refusal.rawValue)"
            metadata["reason"] = "\(refusal.sentence)"
            shared.logger.notice("agent refused", metadata: metadata)
        case .theirs(let refusal, let sentence):
            metadata["code"] = "\(refusal?.rawValue ?? "unknown")"
            metadata["reason"] = "\(sentence)"
            shared.logger.notice("agent ended its session", metadata: metadata)
        case .connectionLost:
            shared.logger.notice("agent connection lost", metadata: metadata)
        case .finished:
            shared.logger.info("node enrolled", metadata: metadata)
        }
    }

    // MARK: Backend

    private func enqueue(_ work: BackendWork) {
        waiting.append(work)
        runNext()
    }

    private func runNext() {
        guard !isWorking, !waiting.isEmpty, let loop = context?.eventLoop ?? lastLoop else { return }
        isWorking = true
        lastLoop = loop
        let work = waiting.removeFirst()
        let bound = NIOLoopBound(self, eventLoop: loop)
        let backend = shared.backend
        shared.submit {
            let outcome = await work.perform(backend)
            loop.execute { bound.value.finished(outcome) }
        }
    }

    /// The loop outlives the handler's place in the pipeline: the backend's last call may end after that.
    private var lastLoop: (any EventLoop)?

    private func finished(_ outcome: BackendWork.Outcome) {
        isWorking = false
        apply {
            $0.resumed(at: shared.time.uptime)
            return []
        }
        switch outcome {
        case .admitted(let peer, let refusal):
            if !isClosing { begin(refusal.map { .rejected($0) } ?? .verified(peer)) }
        case .enrolled(.success(let answer)):
            shared.counters.update { $0.enrolled += 1 }
            apply { $0.enrolled(answer) }
        case .enrolled(.failure(let refusal)), .opened(.failure(let refusal)):
            refuse(refusal)
        case .opened(.success(let welcome)):
            opened(welcome)
        case .done:
            break
        }
        runNext()
        guard !isWorking else { return }
        if isInactive {
            retire()
        } else {
            pump()
            resumeReading()
        }
    }

    private func opened(_ welcome: Roost_V1_Welcome) {
        isOwedClosed = true
        shared.counters.update {
            $0.opened += 1; $0.open += 1
        }
        leavePending()
        connection?.welcomed(epoch: welcome.sessionEpoch)
        if isInactive || isClosing {
            if isInactive { owe() }
            return
        }
        decoder.maximumPayloadBytes = Limits.framePayloadBytes
        apply { $0.welcome(welcome, at: shared.time.uptime) }
        let waiting = held
        held = []
        for bytes in waiting { put(bytes, promise: countedPromise(bytes.count)) }
        if let connection {
            shared.logger.info(
                "agent session opened",
                metadata: [
                    "node": "\(connection.nodeID)", "remote_address": "\(remoteAddress)",
                    "epoch": "\(welcome.sessionEpoch)",
                ])
        }
    }

    private func resumeReading() {
        guard readHeld, !isWorking else { return }
        readHeld = false
        context?.read()
    }

    // MARK: Writing

    /// Writes a frame that the backend sent through its handle.
    func write(_ bytes: [UInt8]) {
        guard let session, !isClosing else { return }
        switch session.state {
        case .established: put(bytes, promise: countedPromise(bytes.count))
        case .opening: held.append(bytes)
        case .awaitingFirst, .enrolling, .closed: return
        }
    }

    private func put(_ bytes: [UInt8], promise: EventLoopPromise<Void>?) {
        guard let context else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: bytes)), promise: promise)
    }

    private func countedPromise(_ byteCount: Int) -> EventLoopPromise<Void>? {
        guard let context, let connection else { return nil }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { _ in connection.written(byteCount) }
        return promise
    }

    // MARK: End

    private func becameInactive() {
        guard !isInactive else { return }
        isInactive = true
        lastLoop = context?.eventLoop
        handshakeTimer?.cancel()
        timer?.cancel()
        if session == nil, !isClosing {
            handshakeFailed("the connection was closed")
        } else {
            apply { $0.disconnected() }
        }
        leavePending()
        owe()
        if !isWorking { retire() }
    }

    /// Tells the backend once that a session which it took in is over.
    private func owe() {
        guard isOwedClosed, let connection else { return }
        isOwedClosed = false
        shared.counters.update { $0.open -= 1 }
        guard case .closed(let end)? = session?.state else { return }
        enqueue(.closed(connection, end.refusal))
    }

    private func leavePending() {
        guard isPending else { return }
        isPending = false
        shared.counters.update { $0.pending -= 1 }
        shared.gate.leave(remoteHost)
    }

    private func retire() {
        guard isRegistered else { return }
        isRegistered = false
        shared.remove(ObjectIdentifier(self))
    }

    private func wire(on loop: any EventLoop) -> ChannelWire {
        ChannelWire(handler: NIOLoopBound(self, eventLoop: loop), eventLoop: loop)
    }
}

/// Hops to the handler's event loop.
private struct ChannelWire: AgentWire {
    let handler: NIOLoopBound<AgentChannelHandler>
    let eventLoop: any EventLoop

    func write(_ bytes: [UInt8]) { eventLoop.execute { handler.value.write(bytes) } }
    func end(_ refusal: SessionRefusal) { eventLoop.execute { handler.value.refuse(refusal) } }
}
