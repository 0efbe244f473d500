import ManagerFleet
import ManagerLeadership
import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolWire
import SimulatorWorld

/// What every manager does, whether or not it leads: keeps or watches the lease, follows what others change, and says that it
/// lives.
extension SimulatedManager {
    // MARK: Lease, as `LeadershipKeeper` drives it

    func tick() {
        handle(.ticked)
        after(.milliseconds(125)) { [self] in tick() }
    }

    /// - Parameter done: called once leadership that was to be handed back is.
    func handle(_ event: Leadership.Event, _ done: @escaping () -> Void = {}) {
        var isReleasing = false
        for effect in leadership.handle(event, at: now.uptime) {
            switch effect {
            case .read, .acquire, .renew: ask(effect)
            case .release(let term):
                isReleasing = true
                world.trace.note(world, "lease handed back", UInt64(host.index), UInt64(term.number), host.name)
                write(isUrgent: true, { [host] sql in try effect.ask(for: host.id, in: sql) }) { _ in done() }
            case .lead(let term): beginLeading(term)
            case .stop(let term): stopLeading(term)
            }
        }
        if !isReleasing { done() }
    }

    private func ask(_ question: Leadership.Effect) {
        let id = host.id
        guard question.isWrite else {
            return read({ sql in try question.ask(for: id, in: sql) }) { [self] result in
                guard let (answer, leader) = try? result.get(), let answer else { return handle(.failed(question)) }
                knownLeader = leader
                answered(question, altered(answer))
            }
        }
        write(isUrgent: true, { [self] sql in try altered(question, in: sql).ask(for: id, in: sql).answer }) {
            [self] result in
            answered(question, (try? result.get()).flatMap { $0 } ?? .failed(question))
        }
    }

    private func answered(_ question: Leadership.Effect, _ answer: Leadership.Event) {
        if planted == .leaseCountedFromAnswer, case .renew = question, case .renewed = answer { countAnew() }
        handle(answer)
    }

    private func beginLeading(_ term: Term) {
        world.trace.note(
            world, "manager leads", UInt64(host.index), UInt64(term.number), "\(host.name) in term \(term)")
        knownLeader = nil
        lead = Lead(term: term, core: FleetCore(settings: settings))
        evidence.leaderWatch?.led(host.index, in: term)
        expectNodes(in: term)
        tickFleet(in: term)
        if record.isShared { pruneFeed(in: term) }
    }

    private func stopLeading(_ term: Term) {
        world.trace.note(
            world, "manager leads no longer", UInt64(host.index), UInt64(term.number), "\(host.name) in term \(term)")
        lead = nil
        if planted == .agentsWithoutLeading { lead = Lead(term: Term(0), core: FleetCore(settings: settings)) }
        if planted == .sessionsOutliveTheTerm { return }
        for id in conversations.keys.sorted() where conversations[id]?.isTaken == true {
            conversations[id]?.apply { $0.refuse(.notLeader, leader: leaderAddress) }
        }
    }

    /// Where agents find the manager that leads; `nil` while that is not known, or it is this one.
    var leaderAddress: String? {
        guard leadership.term == nil, let knownLeader, knownLeader.id != host.id else { return nil }
        return knownLeader.agentAddress
    }

    /// Few entries are kept, so that a manager which was away for long misses some.
    private func pruneFeed(in term: Term) {
        after(.seconds(60)) { [self] in
            guard lead?.term == term else { return }
            write(as: term, { sql in _ = try sql.changeFeed.prune(keeping: 50, limit: 1000) }) { _ in }
            pruneFeed(in: term)
        }
    }

    // MARK: Feed, as `FeedFollower` drives it

    func follow() {
        guard planted != .feedNotFollowed else { return }
        look { [self] in after(SimulatedTime(FeedFollower.interval)) { [self] in follow() } }
    }

    private func look(_ done: @escaping () -> Void) {
        let began = now.uptime
        let last = position.last
        read({ sql in try FeedPosition.look(after: last, in: sql) }) { [self] result in
            guard let look = try? result.get() else { return done() }
            let news = position.take(look, writer: door.writer.name, began: began)
            noticed(news.changes)
            if news.hasMore { self.look(done) } else { done() }
        }
    }

    // MARK: Signs of life, as `ManagerRegistry` gives them

    func signOfLife() {
        let own = host.record(startedAt: began)
        write({ sql in
            if try !sql.managers.renew(own.id) || sql.managers.find(own.id)?.startedAt != own.startedAt {
                try sql.managers.register(own)
            }
            return try sql.managers.list()
        }) { [self] result in
            if let managers = try? result.get() {
                watch.observe(managers, at: now.uptime)
                self.managers = managers
            }
            after(SimulatedTime(Self.signOfLife)) { [self] in signOfLife() }
        }
    }

    /// Where agents may find a manager: this one first, and none that has fallen silent.
    var agentAddresses: [String] {
        let now = now.uptime
        let others = managers.filter { $0.id != host.id && watch.liveness(of: $0.id, at: now) != .silent }
        return [host.agentAddress] + others.map(\.agentAddress)
    }
}
