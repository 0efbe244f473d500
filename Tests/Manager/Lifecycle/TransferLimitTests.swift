import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Limits of image transfers")
struct TransferLimitTests {
    private func revisions(_ record: TestRecord) async throws -> [Revision] {
        try await record.store.read { try $0.nodes.list().sorted { $0.name < $1.name }.map(\.assignmentRevision) }
    }

    @Test("what the site says is kept, told to each node, and in the log; what changes nothing is not")
    func site() async throws {
        let record = try await TestRecord(hosts: 2)
        let before = try await revisions(record)
        let set = try await record.request(by: record.root) { commands in
            try commands.updateSiteTransfers { transfers in
                transfers.node.sendBytesPerSecond = 100 << 20
                transfers.prefillSharePercent = 25
            }
        }
        #expect(set.node.sendBytesPerSecond == 100 << 20)
        #expect(try await record.store.read { try $0.siteSettings.transfers() } == set)
        let after = try await revisions(record)
        for (old, new) in zip(before, after) { #expect(new > old) }
        let events = try await record.store.read { try $0.events.list(after: 0, .everything, limit: 1000) }
        #expect(events.last?.kind == "site.updated")
        #expect(
            events.last?.changes["transfer.prefill_share_percent"] == Event.Difference(before: "10", after: "25"))
        try await record.request(by: record.root) { _ = try $0.updateSiteTransfers { _ in } }
        #expect(try await revisions(record) == after)
    }

    @Test("a node's own limits win over the site's, one by one, and only that node is told")
    func node() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.request(by: record.root) { commands in
            _ = try commands.updateSiteTransfers {
                $0.node.sendBytesPerSecond = 100 << 20
                $0.node.concurrentImages = 2
            }
        }
        let before = try await revisions(record)
        try await record.request(by: record.root) { commands in
            _ = try commands.updateNode("cn2") { $0.transferLimits.sendBytesPerSecond = 10 << 20 }
        }
        let after = try await revisions(record)
        #expect(after[0] == before[0] && after[1] > before[1])
        let node = try await record.node("cn2")
        let site = try await record.store.read { try $0.siteSettings.transfers() }
        let limits = node.transferLimits.or(site.node)
        #expect(limits.sendBytesPerSecond == 10 << 20 && limits.concurrentImages == 2)
        #expect(try await record.node("cn1").transferLimits == TransferLimits())
    }

    @Test("what all nodes together may receive is shared among those that receive, and told when that changes much")
    func balance() async throws {
        let record = try await TestRecord(hosts: 4)
        try await record.request(by: record.root) { commands in
            _ = try commands.updateSiteTransfers { $0.totalBytesPerSecond = 120 << 20 }
        }
        #expect(try await record.store.read { try $0.siteSettings.receiveShare() } == 120 << 20)
        try await record.request(by: record.root) { _ = try $0.prefill("debian", on: ["cn1", "cn2", "cn3"]) }
        #expect(try await record.request(by: .manager) { try $0.isBalanceDue() })
        let before = try await revisions(record)
        try await record.request(by: .manager) { try $0.balanceTransfers() }
        #expect(try await record.store.read { try $0.siteSettings.receiveShare() } == 40 << 20)
        let after = try await revisions(record)
        #expect(after[0] > before[0] && after[3] == before[3], "only those that receive are told")
        #expect(try await record.request(by: .manager) { try $0.isBalanceDue() } == false)
        // However many there are, none gets less than a chunk in bearable time needs.
        try await record.request(by: record.root) { commands in
            _ = try commands.updateSiteTransfers { $0.totalBytesPerSecond = 2 << 20 }
        }
        #expect(try await record.store.read { try $0.siteSettings.receiveShare() } == TransferLimits.lowestRate)
    }
}
