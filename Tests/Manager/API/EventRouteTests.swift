import HTTPTypes
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI

@Suite("Events by whoever asks for them")
struct EventRouteTests {
    private func items(_ client: Client, _ query: String, as user: String = "root") async throws -> [JSONValue] {
        let reply = try await client.get("/v1/events?" + query, as: user)
        #expect(reply.status == 200, "\(query): \(reply.text)")
        return reply.json["items"]?.array ?? []
    }

    @Test("what a request did is found by its X-Request-ID, with what it changed")
    func cause() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let reply = try await client.patch("/v1/instances/web", ["name": "www"], as: "ann")
            let request = try #require(reply.header("X-Request-ID"))
            let found = try await items(client, "request=\(request)")
            #expect(found.count == 1)
            #expect(found.first?["kind"]?.string == "instance.updated")
            #expect(found.first?["actor_id"]?.string == site.users["ann"]?.id.description)
            #expect(found.first?["changes"]?["name"]?["before"]?.string == "web")
            #expect(found.first?["changes"]?["name"]?["after"]?.string == "www")

            let stop = try await client.post("/v1/instances/www/reboot", [:], as: "ann")
            #expect(stop.status == 409, "its creation still runs")
            let operation = try #require(stop.json["operation_id"]?.string)
            #expect(try await client.get("/v1/operations/\(operation)", as: "ann").status == 200)
            let gone = try await client.delete("/v1/instances/www", as: "ann")
            let deletion = try #require(gone.header("Operation-Location")?.split(separator: "/").last)
            let steps = try await items(client, "operation=\(deletion)", as: "ann")
            #expect(steps.map { $0["kind"]?.string } == ["instance.delete_requested"])
        }
    }

    @Test("by actor, resource, kind and time; nobody sees more by asking")
    func filters() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for user in ["ann", "bob"] {
                _ = try await client.post(
                    "/v1/keypairs", ["name": .string("of-\(user)"), "public_key": .string(Fixtures.ed25519)], as: user)
            }
            #expect(try await items(client, "actor=bob&kind=keypair").count == 1)
            #expect(try await items(client, "actor=\(site.users["bob"]!.id)&kind=keypair.created").count == 1)
            #expect(try await items(client, "actor=bob&kind=keypair", as: "ann").isEmpty)
            #expect(try await items(client, "resource=of-ann", as: "bob").isEmpty)
            #expect(try await items(client, "resource=\(fixtures.instance.id)").count == 1)
            #expect(try await items(client, "kind=key").isEmpty, "words are whole")
            #expect(try await items(client, "since=2000-01-01").count >= 6)
            #expect(try await items(client, "since=2999-01-01T00:00:00Z").isEmpty)
            for query in ["since=yesterday-or-so", "operation=7", "after=-1", "kind="] {
                let reply = try await client.get("/v1/events?" + query, as: "root")
                #expect(reply.status == 400 && reply.code == "invalid_request", "\(query) \(reply.text)")
            }
        }
    }

    @Test("whoever goes on from an event that the record does not know, as after a restoration, is told so")
    func beyond() async throws {
        let site = try await TestSite()
        let newest = try await site.store.read { try $0.events.lastSequence() }
        try await site.test { client async throws in
            for (path, headers) in [
                ("/v1/events?after=\(newest + 1)", [:]),
                ("/v1/events?after=\(newest + 1)", ["Accept": "text/event-stream"]),
                ("/v1/events", ["Accept": "text/event-stream", "Last-Event-ID": "\(newest + 100)"]),
            ] {
                let reply = try await client.get(path, as: "root", headers: headers)
                #expect(reply.status == 410 && reply.code == "events_pruned", "\(path) \(headers) \(reply.text)")
                #expect(reply.json["detail"]?.string?.contains("after=\(newest)") == true)
            }
            #expect(try await items(client, "after=\(newest)").isEmpty)
        }
    }

    @Test("whoever goes on from an event that was pruned is told so, in pages and in streams")
    func pruned() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let first = try await site.store.write { sql in
            for _ in 0..<20 {
                try sql.events.append(
                    "test", actor: .manager, owner: nil, resource: ResourceReference(fixtures.node),
                    at: SystemTime().timestamp)
            }
            var policy = RetentionPolicy()
            policy.eventCount = 10
            _ = try sql.retention.prune(.events, policy, at: SystemTime().timestamp, limit: 1000)
            return try sql.events.firstSequence()
        }
        #expect(first > 10)
        try await site.test { client async throws in
            for (path, headers) in [
                ("/v1/events?after=3", [:]), ("/v1/events?after=3", ["Accept": "text/event-stream"]),
                ("/v1/events", ["Accept": "text/event-stream", "Last-Event-ID": "\(first - 2)"]),
            ] {
                let reply = try await client.get(path, as: "root", headers: headers)
                #expect(reply.status == 410 && reply.code == "events_pruned", "\(path) \(headers) \(reply.text)")
                #expect(reply.json["detail"]?.string?.contains("after=\(first - 1)") == true)
            }
            for text in ["x", "-1", "", "1.5", "99999999999999999999"] {
                for accept in ["text/event-stream", "application/json"] {
                    let reply = try await client.get(
                        "/v1/events", as: "root", headers: ["Accept": accept, "Last-Event-ID": text])
                    #expect(reply.status == 400, "\(accept) '\(text)'")
                }
            }
            #expect(try await items(client, "after=\(first - 1)").count == 10)
            #expect(try await items(client, "after=0").count == 10, "0 asks for all that is kept")
            #expect(try await items(client, "limit=5").first?["sequence"]?.integer == first)
        }
    }
}
