import Foundation
import Logging
import NIOCore
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf

/// One session on one connection: a task that reads, one that minds the time, one that sends heartbeats. The first that
/// ends, ends all.
struct UplinkSession: Sendable {
    private let uplink: Uplink
    private let channel: ManagerChannel
    private let state: SessionState

    init(uplink: Uplink, channel: ManagerChannel) {
        self.uplink = uplink
        self.channel = channel
        self.state = SessionState(times: uplink.configuration.times, time: uplink.time)
    }

    /// Runs the session to its end. `stood`: the manager welcomed it; `leader`: where it sent this agent.
    func run() async -> (end: SessionEnd, stood: Bool, leader: String?) {
        let (heartbeats, due) = AsyncStream.makeStream(of: UInt64.self, bufferingPolicy: .bufferingNewest(1))
        let started = Started()
        let transport = channel.channel
        do {
            try await channel.executeThenClose { inbound, outbound in
                let sender = UplinkSender(session: state, writer: outbound)
                await withTaskGroup(of: Void.self) { group in
                    group.addTask { await read(inbound, sender: sender, started: started, due: due) }
                    group.addTask { await mindTime(due: due) }
                    group.addTask { await beat(heartbeats, sender: sender) }
                    await group.next()
                    // Cancelled from outside, or refused: the farewell is written past the tasks, which are over.
                    carryOut(state.apply { machine, _ in machine.refuse(.shuttingDown) }, on: transport)
                    group.cancelAll()
                }
                // The goodbye reaches the kernel before the socket is closed; a manager that does not read is not waited
                // for.
                let limit = transport.eventLoop.scheduleTask(in: .seconds(2)) { transport.close(promise: nil) }
                try? await transport.writeAndFlush(ByteBuffer()).get()
                limit.cancel()
            }
        } catch {
            // The connection broke while closing; the machine knows how the session ended.
        }
        let end = state.end ?? .connectionLost
        let stood = await started.value
        if stood { await uplink.delegate.sessionEnded(end) }
        return (end, stood, state.leader)
    }

    /// Whether `sessionStarted` was called.
    private actor Started {
        private(set) var value = false
        func set() { value = true }
    }

    // MARK: Reading

    private func read(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, sender: UplinkSender, started: Started,
        due: AsyncStream<UInt64>.Continuation
    ) async {
        var hello = await uplink.delegate.hello()
        let identity = uplink.identity
        hello.nodeID = identity.nodeID.bytes
        hello.siteID = identity.siteID.bytes
        hello.protocolMinimum = ProtocolVersion.minimum
        hello.protocolMaximum = ProtocolVersion.current
        hello.features += [ProtocolFeature.managers, ProtocolFeature.transferControl]
        if hello.softwareVersion.isEmpty { hello.softwareVersion = uplink.configuration.softwareVersion }
        let greeting = hello
        carryOut(state.apply { $0.start(greeting, at: $1) }, on: channel.channel)
        var decoder = FrameDecoder()
        do {
            for try await buffer in inbound {
                buffer.withUnsafeReadableBytes { decoder.append($0) }
                while let frame = try decoder.next() {
                    let actions = state.apply { $0.received(frame, at: $1) }
                    guard await perform(actions, sender: sender, started: started) else { return }
                }
            }
        } catch let refusal as SessionRefusal {
            carryOut(state.apply { machine, _ in machine.refuse(refusal) }, on: channel.channel)
            return
        } catch {
            // Whatever broke the socket: the session ends as a lost connection.
        }
        if !Task.isCancelled { _ = state.apply { machine, _ in machine.disconnected() } }
    }

    /// Carries out what a frame led to; `false` once the session is over.
    private func perform(_ actions: [AgentSession.Action], sender: UplinkSender, started: Started) async -> Bool {
        for action in actions {
            switch action {
            case .established(let welcome):
                await uplink.started(welcome)
                await started.set()
                await working { await uplink.delegate.sessionStarted(welcome, send: sender) }
            case .deliver(.enrolmentAnswer(let answer)):
                await working { await uplink.renewed(answer) }
            case .deliver(let message):
                await working { await uplink.delegate.received(message) }
            case .send, .close, .heartbeatDue, .stream:
                carryOut([action], on: channel.channel)
            }
            if state.end != nil { return false }
        }
        return !Task.isCancelled
    }

    private func working(_ body: () async -> Void) async {
        state.delivering(true)
        await body()
        state.delivering(false)
    }

    /// Writes what the machine itself wants said; small and rare, so that it needs no back-pressure.
    private func carryOut(_ actions: [AgentSession.Action], on transport: any Channel) {
        for action in actions {
            guard case .send(let message) = action, let bytes = try? message.encoded() else { continue }
            transport.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        }
    }

    // MARK: Time

    private func mindTime(due: AsyncStream<UInt64>.Continuation) async {
        defer { due.finish() }
        let step = max(.milliseconds(20), uplink.configuration.times.heartbeatInterval / 10)
        while !Task.isCancelled {
            let actions = state.tick()
            for action in actions {
                if case .heartbeatDue(let sequence) = action { due.yield(sequence) }
            }
            carryOut(actions, on: channel.channel)
            if state.end != nil { return }
            try? await Task.sleep(for: step)
        }
    }

    /// Sends heartbeats, and asks for a new certificate when its time has come. A socket that takes nothing holds up this
    /// task alone; the newest number is kept for it meanwhile.
    private func beat(_ heartbeats: AsyncStream<UInt64>, sender: UplinkSender) async {
        for await sequence in heartbeats {
            var heartbeat = await uplink.delegate.heartbeat()
            heartbeat.sequence = sequence
            try? await sender.send(.heartbeat(heartbeat))
            if let request = uplink.renewalRequest() { try? await sender.send(.enrolmentRequest(request)) }
        }
    }
}
