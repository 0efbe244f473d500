import HTTPTypes
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI

/// Every route × who asks × whose it is (P9, SEC-13), made from the route table, so that a new route is covered at
/// once.
@Suite("Access matrix")
struct MatrixTests {
    @Test("lists show a user what is theirs, a superuser all")
    func lists() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for path in ["/v1/instances", "/v1/keypairs", "/v1/server-groups", "/v1/operations", "/v1/events"] {
                let (ann, bob, root) = (
                    try await client.get(path, as: "ann"), try await client.get(path, as: "bob"),
                    try await client.get(path, as: "root")
                )
                let counts = [ann, bob, root].map { $0.json["items"]?.array?.count ?? -1 }
                if path == "/v1/events" {
                    // Each user sees that they were created and signed in themselves.
                    #expect(counts == [3, 2, 7], "\(path) \(counts)")
                } else {
                    #expect(counts == [1, 0, 1], "\(path) \(counts)")
                }
            }
            let images = try await client.get("/v1/images", as: "bob")
            #expect(images.json["items"]?.array?.compactMap { $0["name"]?.string } == ["debian"])
            let users = try await client.get("/v1/users", as: "bob")
            #expect(users.json["items"]?.array?.compactMap { $0["name"]?.string } == ["bob"])
        }
    }

    @Test("answers have the shape that the document promises")
    func shapes() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.store.write { sql in
            try sql.usage.add([
                .init(
                    hour: SystemTime().timestamp.day.daysSince1970 * 24, instance: fixtures.instance.id,
                    owner: fixtures.instance.owner, account: "default", flavor: fixtures.flavor.id,
                    amounts: UsageAmounts())
            ])
        }
        try await site.test { client async throws in
            for route in APIRoutes.all where route.method == .get {
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                let reply = try await client.get(path, as: "root")
                guard reply.status == 200 else { continue }
                switch route.replies.first(where: { $0.status == 200 })?.reply {
                case .one(let schema):
                    #expect(SchemaCheck.faults(of: reply.json, in: .object(schema)) == [], "\(path)")
                case .list(let schema, _):
                    let items = reply.json["items"]?.array ?? []
                    for item in items { #expect(SchemaCheck.faults(of: item, in: .object(schema)) == [], "\(path)") }
                    #expect(!items.isEmpty, "\(path)")
                default: break
                }
            }
        }
    }
}
