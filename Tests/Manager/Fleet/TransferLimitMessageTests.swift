import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import Testing

@testable import ManagerFleet

@Suite("Limits as a node is told them")
struct TransferLimitMessageTests {
    @Test("each set carries the node's limits: its own, else the site's, and its share of what all may receive")
    func message() async throws {
        try await FleetFixture.run { site in
            let (first, second) = (try await site.joined("cn1").id, try await site.joined("cn2").id)
            let now = site.time.timestamp
            try await site.store.write { sql in
                let commands = Commands(in: sql, actor: .console, at: now, settings: LifecycleSettings())
                _ = try commands.updateSiteTransfers {
                    $0.node.sendBytesPerSecond = 30 << 20
                    $0.node.receiveBytesPerSecond = 90 << 20
                    $0.node.concurrentImages = 3
                    $0.totalBytesPerSecond = 50 << 20
                    $0.prefillSharePercent = 20
                }
                _ = try commands.updateNode("cn2") { $0.transferLimits.receiveBytesPerSecond = 20 << 20 }
            }
            func limits(_ node: NodeID) async throws -> [UInt64] {
                let found: Roost_V1_AssignmentSet? = try await site.store.read { sql in
                    try AssignmentMessages(
                        sql: sql, node: node, settings: LifecycleSettings(), managerChunkAddress: ":7403"
                    ).set(since: nil)
                }
                guard let set = found else {
                    Issue.record("there is always a whole set to tell")
                    return []
                }
                let limits = set.transferLimits
                return [
                    limits.sendBytesPerSecond, limits.receiveBytesPerSecond, limits.diskBytesPerSecond,
                    UInt64(limits.concurrentImages), UInt64(limits.prefillSharePercent),
                ]
            }
            #expect(try await limits(first) == [30 << 20, 50 << 20, 0, 3, 20])
            #expect(try await limits(second) == [30 << 20, 20 << 20, 0, 3, 20])
        }
    }
}
