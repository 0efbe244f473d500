import HTTPTypes
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerAPI

@Suite("Images of instances' disks over HTTP")
struct ImageCaptureRouteTests {
    /// `web` of ann's runs on `cn1`, whose agent can copy disks.
    private func site() async throws -> TestSite {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.store.write { transaction in
            var node = fixtures.node
            node.inventory.copiesDisks = true
            try transaction.nodes.update(node)
            var instance = fixtures.instance
            instance.status = .active
            try transaction.instances.updateState(instance)
        }
        return site
    }

    @Test("an image is accepted as an operation, and is as private as the disk")
    func accepted() async throws {
        let site = try await site()
        try await site.test { client async throws in
            let reply = try await client.post(
                "/v1/images", ["name": "golden", "from_instance": "web", "properties": ["os_type": "linux"]], as: "ann")
            #expect(reply.status == 202, "\(reply.text)")
            #expect(reply.json["status"] == "saving" && reply.json["visibility"] == "private")
            let operation = reply.json["operation_id"]?.string ?? ""
            #expect(reply.header("Operation-Location") == "/v1/operations/\(operation)")
            let running = try await client.get("/v1/operations/\(operation)", as: "ann")
            #expect(running.json["kind"] == "image.import" && running.json["status"] == "running")
            #expect(site.uploads.state.withLock { $0.fetches } == 0)

            let again = try await client.post("/v1/images", ["name": "b", "from_instance": "web"], as: "ann")
            #expect(again.status == 409 && again.json["operation_id"]?.string == operation, "\(again.text)")
            let id = reply.json["id"]?.string ?? ""
            let file = try await client.send(
                .put, "/v1/images/\(id)/file", as: "ann", body: [1, 2, 3], type: "application/octet-stream")
            #expect(file.status == 409)
            #expect(try await client.delete("/v1/images/\(id)", as: "ann").status == 204)
            let free = try await client.post("/v1/images", ["name": "b", "from_instance": "web"], as: "ann")
            #expect(free.status == 202)
        }
    }

    @Test("another's instance, and one that there is not, look the same (P9)")
    func foreign() async throws {
        let site = try await site()
        try await site.test { client async throws in
            for reference in ["web", "nothing", "01900000-0000-7000-8000-000000000009"] {
                let reply = try await client.post(
                    "/v1/images", ["name": "x", "from_instance": .string(reference)], as: "bob")
                #expect(reply.status == 404 && reply.code == "not_found", "\(reply.text)")
            }
            let root = try await client.post("/v1/images", ["name": "x", "from_instance": "web"], as: "root")
            #expect(root.status == 202 && root.json["visibility"] == "private")
        }
    }

    @Test("what does not go together is refused field by field")
    func fields() async throws {
        let site = try await site()
        try await site.test { client async throws in
            let others: [(String, JSONValue)] = [
                ("url", "https://example.org/x"), ("size_bytes", 512), ("format", "qcow2"),
                ("checksum", .string("sha256:" + String(repeating: "0a", count: 32))),
            ]
            for (name, value) in others {
                let body = JSONValue.object([
                    .init("name", "x"), .init("from_instance", "web"), .init(name, value),
                ])
                let reply = try await client.post("/v1/images", body, as: "ann")
                #expect(reply.status == 400 && reply.code == "invalid_request", "\(name): \(reply.text)")
                #expect(reply.text.contains("/\(name)"))
            }
            let published = try await client.post(
                "/v1/images", ["name": "x", "from_instance": "web", "visibility": "public"], as: "ann")
            #expect(published.status == 403)
            let list = try await client.get("/v1/images", as: "ann")
            #expect(list.json["items"]?.array?.count == 2)
        }
    }
}
