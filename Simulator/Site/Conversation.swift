import ManagerFleet
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SimulatorWorld
import SwiftProtobuf

/// The manager's side of one connection: the session machine, and one piece of work at a time, as the listener's channel
/// handler does it.
final class Conversation {
    private enum Job {
        case admit
        case open(Roost_V1_Hello)
        case deliver(ProtocolWire.Message)
        case closed
    }

    let id: ConnectionID
    let connection: Connection
    let peer: VerifiedPeer
    /// Of the session, once it was welcomed.
    private(set) var epoch: UInt64 = 0
    private unowned let manager: SimulatedManager
    private var machine: ManagerSession
    private var inbound: [ProtocolWire.Message] = []
    private var jobs: [Job] = []
    private var held: [ProtocolWire.Message] = []
    private var isWorking = false
    private var isClosing = false
    private var isOwedClosed = false
    /// The leader's work has heard of it.
    var isTaken = false

    var node: NodeID? { peer.node }
    var isEstablished: Bool { machine.state == .established }

    init(manager: SimulatedManager, id: ConnectionID, connection: Connection, peer: VerifiedPeer) {
        self.manager = manager
        self.id = id
        self.connection = connection
        self.peer = peer
        machine = ManagerSession(credential: .none, at: manager.now.uptime)
    }

    func begin() {
        connection.listen(.listener) { [weak self] arrival in
            guard let self else { return }
            self.manager.whenAwake { self.hear(arrival) }
        }
        enqueue(.admit)
        tick()
    }

    private func hear(_ arrival: Connection.Arrival) {
        switch arrival {
        case .message(let message):
            inbound.append(message)
            pump()
        case .ended:
            apply { $0.disconnected() }
            becameInactive()
        }
    }

    private func tick() {
        manager.after(.seconds(5)) { [weak self] in
            guard let self, !self.isClosing else { return }
            if !self.isWorking { self.apply { $0.tick(at: self.manager.now.uptime) } }
            self.tick()
        }
    }

    private func pump() {
        while !isWorking, !isClosing, !inbound.isEmpty {
            let message = inbound.removeFirst()
            let now = manager.now
            apply { $0.received(message, at: now.uptime, managerTime: now.timestamp) }
        }
    }

    func apply(_ event: (inout ManagerSession) -> [ManagerSession.Action]) {
        for action in event(&machine) {
            switch action {
            case .send(let message): connection.send(message, from: .listener)
            case .open(let hello, _): enqueue(.open(hello))
            case .deliver(let message): enqueue(.deliver(message))
            case .enrol, .suspect, .recovered, .stream: continue
            case .close:
                isClosing = true
                connection.close(.listener)
                manager.after(.milliseconds(1)) { [weak self] in self?.becameInactive() }
            }
        }
    }

    /// What the fleet sends through its handle.
    func write(_ message: ProtocolWire.Message) {
        switch machine.state {
        case .established: connection.send(message, from: .listener)
        case .opening: held.append(message)
        case .awaitingFirst, .enrolling, .closed: return
        }
    }

    // MARK: Work

    private func enqueue(_ job: Job) {
        jobs.append(job)
        runNext()
    }

    private func runNext() {
        guard !isWorking, !jobs.isEmpty, manager.isAlive else { return }
        isWorking = true
        let (peer, node) = (self.peer, peer.node ?? NodeID.generate(at: World.epoch))
        switch jobs.removeFirst() {
        case .admit:
            manager.read({ try Enrolment.admits(node, serial: peer.serial, in: $0) }) { [weak self] result in
                self?.admitted((try? result.get()) ?? false)
            }
        case .open(let hello):
            manager.open(self, node, hello) { [weak self] answer in self?.opened(answer ?? .failure(.notLeader)) }
        case .deliver(let message):
            manager.received(message, of: self, node) { [weak self] in self?.finished() }
        case .closed:
            manager.closed(self, node) { [weak self] in
                guard let self else { return }
                self.manager.forget(self.id)
                self.finished()
            }
        }
    }

    private func admitted(_ isGood: Bool) {
        guard !isClosing else { return finished() }
        machine = ManagerSession(
            credential: isGood ? .verified(peer) : .rejected(.certificateRevoked), at: manager.now.uptime)
        apply { $0.start() }
        finished()
    }

    private func opened(_ answer: Result<Roost_V1_Welcome, SessionRefusal>) {
        switch answer {
        case .failure(let refusal):
            let leader = refusal == .notLeader ? manager.leaderAddress : nil
            apply { $0.refuse(refusal, leader: leader) }
        case .success(let welcome):
            isOwedClosed = true
            epoch = welcome.sessionEpoch
            if isClosing { return finished(owing: true) }
            apply { $0.welcome(welcome, at: manager.now.uptime) }
            let waiting = held
            held = []
            for message in waiting { connection.send(message, from: .listener) }
        }
        finished()
    }

    private func finished(owing: Bool = false) {
        isWorking = false
        machine.resumed(at: manager.now.uptime)
        if owing { becameInactive() }
        runNext()
        pump()
    }

    private func becameInactive() {
        isClosing = true
        if isOwedClosed {
            isOwedClosed = false
            enqueue(.closed)
        } else if !isWorking, jobs.isEmpty {
            manager.forget(id)
        }
    }
}
