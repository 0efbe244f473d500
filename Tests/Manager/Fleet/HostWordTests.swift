import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SwiftProtobuf
import Testing

@testable import ManagerFleet

@Suite("What agents say of their hosts' operators")
struct HostWordTests {
    private let now = Moment(of: SystemTime())
    private let node = NodeID.generate(at: SystemTime().timestamp)
    private let connection = ConnectionID(1)

    private func core() -> FleetCore {
        FleetCore(settings: .init(chunkAddress: ":7403", lifecycle: LifecycleSettings(), softwareVersion: "0"))
    }

    @Test("Hello's word is part of opening the session; an agent that knows none changes nothing")
    func hello() {
        var core = core()
        func word(_ hello: Roost_V1_Hello) -> HostWord?? {
            for case .work(.openSession(_, _, let facts), _) in core.handle(
                .hello(connection, node, hello, remoteAddress: ""), at: now)
            {
                return facts.hostWord
            }
            return .none
        }
        #expect(word(.init()) == .some(.none))
        #expect(word(.with { $0.hostHold = .init() }) == .some(.isOurs))
        let left = Roost_V1_HostHold.with {
            $0.left = true
            $0.reason = "a\u{1B}[31m\n" + String(repeating: "x", count: 400)
            $0.sinceMs = 5
        }
        let hold = HostHold(
            reason: "a[31m" + String(repeating: "x", count: 251), since: Timestamp(milliseconds: 5))
        #expect(word(.with { $0.hostHold = left }) == .some(.left(hold)))
    }

    @Test("a word in a report is recorded before the rest of it, and one that was not closes the session")
    func report() {
        var core = core()
        let facts = SessionFacts(bootID: "", softwareVersion: "", remoteAddress: "")
        _ = core.handle(
            .finished(.openSession(connection, node, facts), .success(.session(SessionEpoch(1)))), at: now)
        let instance = InstanceID.generate(at: now.timestamp)
        let report = Roost_V1_StatusReport.with {
            $0.instances = [
                .with {
                    $0.instanceID = instance.octets
                    $0.state = .stopped
                }
            ]
            $0.hostHold.left = true
        }
        let works = core.handle(.received(connection, node, .statusReport(report)), at: now).compactMap { effect in
            if case .work(let work, _) = effect { work } else { nil }
        }
        guard works.count == 2, case .hostWord(_, node, .left) = works[0], case .status = works[1] else {
            Issue.record("\(works)")
            return
        }
        struct Problem: Error {}
        let effects = core.handle(.finished(works[0], .failure(Problem())), at: now)
        #expect(effects.contains { if case .close(connection, .busy) = $0 { true } else { false } })
    }
}
