import ManagerFleet
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SimulatorWorld
import SwiftProtobuf

/// The leader's work, as `Fleet` does it: every write names the term in which it was decided.
extension SimulatedManager {
    /// What came of a hello; `nil` where there was none.
    typealias Welcome = Result<Roost_V1_Welcome, SessionRefusal>?

    func tickFleet(in term: Term) {
        after(.seconds(1)) { [self] in
            handle(.ticked, in: term) { [self] _ in if lead?.term == term { tickFleet(in: term) } }
        }
    }

    func expectNodes(in term: Term) {
        read({ sql in try sql.nodes.list() }) { [self] result in
            guard lead?.term == term else { return }
            guard let nodes = try? result.get() else {
                return after(.seconds(1)) { [self] in if lead?.term == term { expectNodes(in: term) } }
            }
            handle(.began(nodes), in: term) { _ in }
        }
    }

    /// Transactions were committed, by this manager or another.
    func noticed(_ changes: [Change]) {
        guard !changes.isEmpty, let effects = lead?.core.handle(.committed(changes), at: now) else { return }
        for effect in effects {
            if case .wake = effect { wake() }
        }
    }

    private func wake() {
        guard var lead else { return }
        lead.isWoken = true
        if !lead.isPushing {
            lead.isPushing = true
            after(.milliseconds(1)) { [self, term = lead.term] in push(in: term) }
        }
        self.lead = lead
    }

    /// One round of pushes after another, as the daemon's task does it.
    private func push(in term: Term) {
        guard lead?.term == term else { return }
        guard lead?.isWoken == true else {
            lead?.isPushing = false
            return
        }
        lead?.isWoken = false
        let effects = lead?.core.handle(.woken, at: now) ?? []
        var left = effects.count
        guard left > 0 else { return push(in: term) }
        for effect in effects {
            carryOut([effect], in: term) { [self] _ in
                left -= 1
                if left == 0 { push(in: term) }
            }
        }
    }

    // MARK: Sessions

    /// An agent said hello.
    func open(
        _ conversation: Conversation, _ node: NodeID, _ hello: Roost_V1_Hello, _ done: @escaping (Welcome) -> Void
    ) {
        guard lead != nil else { return done(.failure(.notLeader)) }
        conversation.isTaken = true
        handle(.hello(conversation.id, node, hello, remoteAddress: "192.0.2.1:1")) { [self] answer in
            guard case .success(var welcome)? = answer else { return done(answer ?? .failure(.notLeader)) }
            if hello.features.contains(ProtocolFeature.managers) {
                welcome.features.append(ProtocolFeature.managers)
                welcome.managerAddresses = agentAddresses
            }
            done(.success(welcome))
        }
    }

    /// A message of an open session; where its term is over the session is, too.
    func received(
        _ message: ProtocolWire.Message, of conversation: Conversation, _ node: NodeID, _ done: @escaping () -> Void
    ) {
        guard lead != nil || planted == .sessionsOutliveTheTerm else {
            conversation.apply { $0.refuse(.notLeader, leader: leaderAddress) }
            return done()
        }
        handle(.received(hearing(conversation), node, message)) { _ in done() }
    }

    func closed(_ conversation: Conversation, _ node: NodeID, _ done: @escaping () -> Void) {
        handle(.closed(conversation.id, node)) { _ in done() }
    }

    // MARK: Effects

    /// - Parameters:
    ///   - term: in which the event belongs; `nil`: in the one that is.
    ///   - done: called when all that follows from it was carried out, at once where the term is over.
    private func handle(_ event: FleetCore.Event, in term: Term? = nil, _ done: @escaping (Welcome) -> Void) {
        guard let current = lead?.term, term ?? current == current,
            let effects = lead?.core.handle(event, at: now)
        else { return done(nil) }
        carryOut(effects, in: current, done)
    }

    private func carryOut(
        _ effects: [FleetCore.Effect], from first: Int = 0, in term: Term, answer: Welcome = nil,
        _ done: @escaping (Welcome) -> Void
    ) {
        var answer = answer
        for index in first..<effects.count {
            switch effects[index] {
            case .wake: wake()
            case .work(let work, let at):
                return perform(work, in: term, at: at) { [self] result in
                    handle(.finished(work, result), in: term) { [self] later in
                        carryOut(effects, from: index + 1, in: term, answer: later ?? answer, done)
                    }
                }
            case .send(let id, let message): conversations[id]?.write(message)
            case .close(let id, let refusal): close(id, refusal)
            case .welcome(_, let welcome): answer = .success(welcome)
            case .refuse(_, let refusal): answer = .failure(refusal)
            // No simulated site has a command for it.
            case .fence: break
            case .notice: break
            }
        }
        done(answer)
    }

    private func close(_ id: ConnectionID, _ refusal: SessionRefusal) {
        if planted == .removedNodeKept, refusal == .nodeRemoved { return }
        if planted == .supersededSessionHeard, refusal == .superseded { return }
        conversations[id]?.apply { $0.refuse(refusal) }
    }

    private func perform(
        _ work: FleetWork, in term: Term, at: Timestamp,
        _ done: @escaping (Result<FleetWork.Answer, any Error>) -> Void
    ) {
        let settings = self.settings
        guard work.isWrite else {
            return read({ try work.perform(in: $0, at: at, settings) }) { [self] result in
                done(altered(result, of: work))
            }
        }
        if planted == .usageAcknowledgedBeforeCommit, case .usage(_, _, let batch) = work {
            write(as: term, { try work.perform(in: $0, at: at, settings) }) { _ in }
            return done(.success(.counted(batch.number)))
        }
        let epoch = speakingEpoch
        write(
            as: term,
            { [self] sql in
                let work = try altered(work, in: sql)
                check(work, in: epoch)
                let answer = try work.perform(in: sql, at: at, settings)
                try spoil(work, in: sql)
                return answer
            }, done)
    }

    /// What an older session said must not be recorded behind what a newer one said, whichever manager has it.
    private func check(_ work: FleetWork, in epoch: UInt64) {
        guard case .status(_, let node, let instances, let images) = work else { return }
        world.trace.note(
            world, "status", node.mark, epoch,
            "of node \(node.short): "
                + instances.map { "\($0.instance.short) \($0.state) \($0.epoch.value).\($0.generation.value)" }
                .joined(separator: ", ") + images.map { " \($0.image.short) \($0.state)" }.joined())
        if let newest = evidence.reported[node], newest > epoch {
            evidence.broken(
                "P2", "a report of session \(epoch) of node \(node.short) is recorded behind one of session \(newest)")
        }
        evidence.reported[node] = max(evidence.reported[node] ?? 0, epoch)
    }

    /// The connection under whose name the fleet hears a node's message.
    private func hearing(_ conversation: Conversation) -> ConnectionID {
        speakingEpoch = conversation.epoch
        guard planted == .supersededSessionHeard else { return conversation.id }
        let newest = conversations.values.filter { $0.node == conversation.node && $0.isEstablished }
            .max { $0.epoch < $1.epoch }
        return newest?.id ?? conversation.id
    }
}
