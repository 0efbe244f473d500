import HTTPTypes
import ManagerIdentity
import ManagerModel
import Testing

@testable import ManagerAPI

/// Every route × who asks × whose it is (P9, SEC-13), made from the route table, so that a new route is covered at
/// once.
@Suite("Access matrix")
struct MatrixTests {
    private static let closed = APIRoutes.all.filter { !$0.permission.isOpen }

    private static func body(_ route: Route) -> (bytes: [UInt8]?, type: String) {
        switch route.body {
        // What only a superuser may change of themselves is left out.
        case .json where route.pattern == "/v1/users/me":
            (Array(#"{"email":"a@b.example"}"#.utf8), "application/json")
        case .json(let schema), .optionalJSON(let schema): (Sample.good(schema).bytes, "application/json")
        case .form: (Array("grant_type=x".utf8), "application/x-www-form-urlencoded")
        case .stream: ([1, 2, 3], "application/octet-stream")
        case .none: (nil, "application/json")
        }
    }

    private static func send(
        _ route: Route, _ client: Client, _ path: String, as user: String?, _ headers: [String: String] = [:]
    )
        async throws -> Reply
    {
        let (bytes, type) = body(route)
        return try await client.send(route.method, path, as: user, body: bytes, type: type, headers: headers)
    }

    @Test("without a token, and with one that is none, every closed route answers 401")
    func noToken() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for route in Self.closed {
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                for header in [
                    "", "Bearer", "Bearer x", "Bearer a.b.c", "Basic cm9vdDp4", "bearer \(site.token("ann"))x",
                ] {
                    let headers = header.isEmpty ? [:] : ["Authorization": header]
                    let reply = try await Self.send(route, client, path, as: nil, headers)
                    #expect(reply.status == 401, "\(route.method) \(route.pattern) \(header)")
                    #expect(reply.header("WWW-Authenticate")?.contains("Bearer") == true)
                    #expect(reply.code == "invalid_token")
                }
            }
        }
    }

    @Test("a user gets 403 where only superusers may, and 404 for what is another's")
    func user() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for route in Self.closed where route.permission != .notYetServed {
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                let reply = try await Self.send(route, client, path, as: "bob")
                let context = "\(route.method) \(route.pattern): \(reply.status) \(reply.text.prefix(200))"
                if !Rights.builtIn(.user).may(route.permission) {
                    #expect(reply.status == 403, "\(context)")
                } else if !Rights.builtIn(.user).allows(route.permission, .foreign), route.pattern.contains("{"),
                    !route.replies.isEmpty
                {
                    #expect(reply.status == 404, "\(context)")
                    // Nothing of the resource may be told.
                    #expect(!reply.text.contains("secret-image") && !reply.text.contains("laptop"), "\(context)")
                } else {
                    #expect(
                        reply.status != 401 && reply.status != 403 && reply.status < 500 || route.replies.isEmpty,
                        "\(context)")
                }
            }
        }
    }

    @Test("the owner and a superuser are let in everywhere they may be")
    func owner() async throws {
        for route in Self.closed where route.permission != .notYetServed {
            // A site for each route: some of them delete what the next would want.
            let site = try await TestSite()
            let fixtures = try await Fixtures.make(in: site)
            try await site.test { client async throws in
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                for user in ["ann", "root"] where user == "root" || Rights.builtIn(.user).may(route.permission) {
                    let reply = try await Self.send(route, client, path, as: user)
                    let context = "\(user) \(route.method) \(route.pattern): \(reply.status) \(reply.text.prefix(300))"
                    #expect(reply.status != 401 && reply.status != 500, "\(context)")
                    // What the first of the two deleted is gone for the second.
                    if user == "ann", !route.pattern.hasPrefix("/v1/accounts/") {
                        #expect(reply.status != 404, "\(context)")
                    }
                }
            }
        }
    }

    @Test("lists show a user what is theirs, a superuser all")
    func lists() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for path in ["/v1/instances", "/v1/keypairs", "/v1/operations", "/v1/events"] {
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
        try await site.test { client async throws in
            for route in APIRoutes.all where route.method == .get {
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                let reply = try await client.get(path, as: "root")
                guard reply.status == 200 else { continue }
                switch route.replies.first(where: { $0.status == 200 })?.reply {
                case .one(let schema):
                    #expect(SchemaCheck.faults(of: reply.json, in: .object(schema)) == [], "\(path)")
                case .list(let schema):
                    let items = reply.json["items"]?.array ?? []
                    for item in items { #expect(SchemaCheck.faults(of: item, in: .object(schema)) == [], "\(path)") }
                    #expect(!items.isEmpty, "\(path)")
                default: break
                }
            }
        }
    }
}
