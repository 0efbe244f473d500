import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerAPI

@Suite("Audit")
struct AuditTests {
    @Test("what somebody tried to change and may not is told: who, what, from where, and that it was refused")
    func refusals() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let body: JSONValue = ["name": "big", "vcpus": 1, "ram_mib": 64, "disk_gib": 1]
            #expect(try await client.post("/v1/flavors", body, as: "ann").status == 403)
            // Looking is no attempt at a change, and a body that is not well-formed is no attempt at what is forbidden.
            #expect(try await client.get("/v1/nodes", as: "ann").status == 403)
            let events = try await client.get("/v1/events?outcome=refused&limit=10", as: "root")
            let items = events.json["items"]?.array ?? []
            #expect(items.count == 1, "\(events.text)")
            let event = try #require(items.first)
            #expect(event["kind"]?.string == "request.refused" && event["actor"]?.string == "ann")
            #expect(event["resource"]?["name"]?.string == "POST /v1/flavors")
            #expect(event["outcome"]?.string == "refused")
            #expect(event["request_id"]?.string?.isEmpty == false && event["credential"]?.string?.isEmpty == false)
            #expect(try await client.get("/v1/events?outcome=refused", as: "bob").json["items"]?.array?.isEmpty == true)
        }
    }

    @Test("whoever goes on trying fills the log slowly, and what was passed over is counted")
    func bounded() async throws {
        let site = try await TestSite()
        let audit = RefusalAudit()
        let actor = site.users["ann"]!.actor
        let clock = StepClock()
        for _ in 0..<(RefusalAudit.burst + 200) {
            await audit.note("POST /v1/flavors", by: actor, reason: "no", in: site.store, time: clock)
        }
        clock.pass(.seconds(1))
        await audit.note("POST /v1/flavors", by: actor, reason: "no", in: site.store, time: clock)
        let events = try await site.store.read { sql in
            var filter = EventRepository.Filter()
            filter.outcome = .refused
            return try sql.events.list(after: 0, .everything, filter, limit: 1000)
        }
        #expect(events.count == RefusalAudit.burst + 1)
        #expect(events.last?.data == ["passed_over": "200"])
    }
}

/// A clock that the test moves.
private final class StepClock: TimeSource {
    private let passed = Mutex(Duration.zero)

    var timestamp: Timestamp { SystemTime().timestamp }
    var uptime: Uptime { Uptime(sinceStart: .seconds(1000) + passed.withLock { $0 }) }

    func pass(_ duration: Duration) { passed.withLock { $0 += duration } }
}
