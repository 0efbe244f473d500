import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@testable import ManagerFleet

@Suite("Pushes to agents")
struct PushTests {
    /// A core with one open session whose first push is under way.
    private final class Pushing {
        let node = NodeID.generate(at: SystemTime().timestamp)
        let connection = ConnectionID(1)
        let now = Moment(of: SystemTime())
        var core = FleetCore(
            settings: .init(chunkAddress: ":7403", lifecycle: LifecycleSettings(), softwareVersion: "0"))

        init() {
            let facts = SessionFacts(bootID: "", softwareVersion: "", remoteAddress: "")
            _ = core.handle(
                .finished(.openSession(connection, node, facts), .success(.session(SessionEpoch(1)))), at: now)
            _ = core.handle(.woken, at: now)
        }

        /// Whether the core asks to be woken once a push has come to this.
        func wakes(after message: Roost_V1_AssignmentSet?, since revision: Revision?) -> Bool {
            let work = FleetWork.assignments(connection, node, since: revision)
            return core.handle(.finished(work, .success(.assignments(message))), at: now).contains {
                if case .wake = $0 { true } else { false }
            }
        }

        /// The revisions from which the core looks for something to tell.
        func looks() -> [Revision?] {
            core.handle(.woken, at: now).compactMap {
                if case .work(.assignments(connection, node, since: let revision), _) = $0 { revision } else { nil }
            }
        }
    }

    private let whole = Roost_V1_AssignmentSet.with {
        $0.revision = 7
        $0.full = true
    }

    @Test(
        "what is committed during a push is pushed after it, also where the push found nothing",
        arguments: [true, false])
    func committedMeanwhile(findsSomething: Bool) {
        let pushing = Pushing()
        #expect(!pushing.wakes(after: whole, since: nil))
        _ = pushing.core.handle(.committed([.assignments(pushing.node)]), at: pushing.now)
        #expect(pushing.looks() == [Revision(7)])
        // A second commit, while the push of the first is under way.
        _ = pushing.core.handle(.committed([.assignments(pushing.node)]), at: pushing.now)
        #expect(pushing.looks().isEmpty)
        #expect(pushing.wakes(after: findsSomething ? whole : nil, since: Revision(7)))
        #expect(pushing.looks() == [Revision(7)])
        #expect(!pushing.wakes(after: nil, since: Revision(7)))
    }
}
