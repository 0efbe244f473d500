import AgentReconcile
import AgentLink
import AgentManagers
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SimulatorWorld
import SwiftProtobuf

/// The agent's end of one session after another: dials, introduces itself, ticks, comes back after every loss.
final class SimulatedUplink {
    weak var agent: SimulatedAgent?
    private let machine: Machine
    private let site: Site
    private var session: AgentSession?
    private var connection: Connection?
    /// Which connection is the current one; what belongs to an earlier one is over.
    private var turn: UInt64 = 0
    private var stood = false
    private var round: ManagerRound

    init(machine: Machine, site: Site) {
        self.machine = machine
        self.site = site
        round = ManagerRound(
            configured: site.configured[machine.index], learned: site.learned[machine.index],
            backoff: Backoff(first: .milliseconds(500), maximum: .seconds(20), jitter: 0.5))
    }

    var isEstablished: Bool { session?.state == .established }

    // MARK: Dialling

    func dial(after delay: SimulatedTime) {
        turn += 1
        let turn = turn
        agent?.after(delay) { agent in
            guard turn == self.turn else { return }
            guard let identity = self.machine.identity, let address = self.round.next(),
                let manager = self.site.manager(at: address.host)
            else { return self.dialAgain(.failed) }
            let peer = VerifiedPeer(
                identity: .node(identity.node), site: self.site.id, serial: identity.serial,
                notAfter: World.epoch + .seconds(86_400))
            self.site.network.connect(
                .host(self.machine.index), to: manager.place,
                accept: { manager.process?.accept($0, peer: peer) ?? false }
            ) { connection in
                guard agent.isAlive, turn == self.turn else {
                    connection?.close(.dialler)
                    return
                }
                guard let connection else { return self.dialAgain(.failed) }
                self.begin(connection, identity, turn)
            }
        }
    }

    private func dialAgain(_ outcome: ManagerRound.Outcome) {
        var random = site.world.random
        dial(after: SimulatedTime(round.ended(outcome, using: &random)))
    }

    private func begin(_ connection: Connection, _ identity: Machine.Identity, _ turn: UInt64) {
        self.connection = connection
        stood = false
        session = AgentSession()
        connection.listen(.dialler) { [weak self] arrival in
            guard let self, self.agent?.isAlive == true, turn == self.turn else { return }
            switch arrival {
            case .message(let message): self.apply { $0.received(message, at: $1) }
            case .ended: self.apply { session, _ in session.disconnected() }
            }
        }
        let hello = Roost_V1_Hello.with {
            $0.nodeID = identity.node.bytes
            $0.siteID = site.id.bytes
            $0.bootID = machine.bootID.bytes
            $0.processID = machine.bootID.bytes
            $0.protocolMinimum = ProtocolVersion.minimum
            $0.protocolMaximum = ProtocolVersion.current
            $0.softwareVersion = "0.0"
            $0.appliedRevision = agent?.link.book.revision ?? 0
            $0.features = [ProtocolFeature.managers]
            if let hold = agent?.introduceHostHold() { $0.hostHold = hold }
        }
        apply { $0.start(hello, at: $1) }
        tick(turn)
    }

    private func tick(_ turn: UInt64) {
        agent?.after(.milliseconds(500)) { _ in
            guard turn == self.turn, self.session != nil else { return }
            self.apply { $0.tick(at: $1) }
            if turn == self.turn { self.tick(turn) }
        }
    }

    // MARK: Session

    private func apply(_ event: (inout AgentSession, Uptime) -> [AgentSession.Action]) {
        guard var session, let agent else { return }
        let actions = event(&session, machine.now.uptime)
        self.session = session
        let turn = turn
        for action in actions where agent.isAlive && turn == self.turn {
            switch action {
            case .send(let message): connection?.send(message, from: .dialler)
            case .established(let welcome):
                stood = true
                let managers = welcome.managerAddresses.prefix(ManagerRound.limit).compactMap { ManagerAddress($0) }
                if round.learn(managers) { site.learned[machine.index] = managers }
                agent.handle(.sessionStarted(welcome))
            case .deliver(let message): agent.handle(.received(message))
            case .heartbeatDue(let sequence):
                send(
                    .heartbeat(
                        .with {
                            $0.sequence = sequence
                            $0.runningDomains = UInt32(clamping: agent.reconciler.runningDomains)
                            $0.appliedRevision = agent.link.book.revision
                        }))
            case .stream: continue
            case .close(let end):
                let leader = session.leader.flatMap { ManagerAddress($0) }
                let outcome: ManagerRound.Outcome =
                    stood
                    ? .stood(leader: leader) : end.refusal == .notLeader ? .notLeader(leader) : .failed
                over()
                if agent.isAlive { dialAgain(outcome) }
            }
        }
    }

    func send(_ message: ProtocolWire.Message) {
        guard session?.admits(message) == true else { return }
        connection?.send(message, from: .dialler)
    }

    private func over() {
        connection?.close(.dialler)
        connection = nil
        session = nil
        if stood {
            stood = false
            agent?.handle(.sessionEnded)
        }
    }

    /// Ends the session from this side; the caller dials again.
    func endSession() {
        if let actions = session?.refuse(.shuttingDown) {
            for case .send(let message) in actions { connection?.send(message, from: .dialler) }
        }
        over()
        var random = site.world.random
        _ = round.ended(.stood(leader: nil), using: &random)
    }

    /// The process is gone: the kernel closes its socket, unless the power went as well.
    func vanish() {
        turn += 1
        if machine.isUp { connection?.close(.dialler) } else { connection?.vanish(.dialler) }
        connection = nil
        session = nil
    }
}
