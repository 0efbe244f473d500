import Foundation
import HTTPTypes
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

/// Every route × who asks × whose it is × what token (P9, SEC-08, SEC-13), made from the table that the API checks by, so that a
/// new route is covered at once.
@Suite("Permission matrix", .serialized)
struct PermissionMatrixTests {
    /// Who asks, seen from `ann` of account `default`, whose things are asked for.
    private static let cast: [(name: String, roles: [String], account: String)] = [
        ("amy", ["account_owner"], "default"), ("olga", ["account_owner"], "physics"), ("phil", ["user"], "physics"),
        ("carl", ["controller_service"], "physics"), ("tess", ["accountant_service"], "physics"),
        ("wes", ["watcher"], "physics"), ("none", ["vanished"], "default"),
    ]

    private struct Viewer {
        var name: String
        var account: String
        var rights: Rights
    }

    private enum Expectation: Equatable {
        case allowed
        case refused(Int)
    }

    private static let served = APIRoutes.all.filter { $0.isServed && !$0.permission.isOpen }

    private static func viewers() -> [Viewer] {
        let own = [("root", ["superuser"], "default"), ("ann", ["user"], "default"), ("bob", ["user"], "default")]
        return (own + cast).map { name, roles, account in
            let rights = roles.reduce(Rights.none) { rights, role in
                if role == "watcher" { return rights.union(Rights([.nodeRead: .all])) }
                return Role(rawValue: role).map { rights.union(.builtIn($0)) } ?? rights
            }
            return Viewer(name: name, account: account, rights: rights)
        }
    }

    /// Which permission says whether the path's resource is seen at all, and whose it is for this viewer.
    private static func target(_ route: Route, _ viewer: Viewer) -> (read: Permission, ownership: Ownership)? {
        guard route.pattern.contains("{") else { return nil }
        let isOwn = viewer.name == "ann"
        let anns: Ownership = isOwn ? .own : viewer.account == "default" ? .account : .foreign
        return switch route.pattern.split(separator: "/").dropFirst().first {
        case "users": (.userRead, anns)
        case "keypairs": (.keyPairRead, anns)
        case "server-groups": (.serverGroupRead, anns)
        case "images": (.imageRead, anns)
        case "instances": (.instanceRead, anns)
        case "operations": (.operationRead, anns)
        case "api-keys": (.apiKeyRead, anns)
        // The account is the one called physics.
        case "accounts":
            (
                .accountRead,
                viewer.account != "physics" ? .foreign : viewer.rights[.accountRead] >= .account ? .account : .own
            )
        // The group is of account default, and ann alone is in it.
        case "groups":
            (.groupRead, isOwn ? .own : anns == .account && viewer.rights[.groupRead] >= .account ? anns : .foreign)
        case "roles": (.roleRead, .foreign)
        case "flavors": (.flavorRead, .foreign)
        case "nodes": (.nodeRead, .foreign)
        case "aggregates": (.aggregateRead, .foreign)
        case "image-policies": (.imagePrefill, .foreign)
        case "devices": (.deviceRead, .foreign)
        case "device-rules": (.deviceRuleRead, .foreign)
        default: (route.permission, .foreign)
        }
    }

    /// The table, read once more: what must come of it.
    private static func expected(_ route: Route, _ viewer: Viewer, isThere: Bool) -> Expectation {
        guard viewer.rights.may(route.permission) else { return .refused(403) }
        guard let target = target(route, viewer) else { return .allowed }
        guard isThere, viewer.rights.allows(target.read, target.ownership) else { return .refused(404) }
        return viewer.rights.allows(route.permission, target.ownership) ? .allowed : .refused(403)
    }

    private static func site() async throws -> (TestSite, Fixtures) {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        for (name, roles, account) in cast { try await site.add(name, roles: roles, account: account) }
        return (site, fixtures)
    }

    private static func body(_ route: Route) -> (bytes: [UInt8]?, type: String) {
        switch (route.method, route.pattern) {
        // What takes more than the route's own permission is tested by itself.
        case (.patch, "/v1/users/me"), (.patch, "/v1/users/{ref}"):
            return (Array(#"{"full_name":"Ann Other"}"#.utf8), "application/json")
        case (.post, "/v1/users"):
            return (Array(#"{"name":"new","password":"a good password"}"#.utf8), "application/json")
        case (.patch, "/v1/accounts/{ref}"): return (Array(#"{"description":"x"}"#.utf8), "application/json")
        case (.post, "/v1/instances"):
            return (Array(#"{"name":"new","flavor":"small","image":"debian"}"#.utf8), "application/json")
        case (.post, "/v1/nodes/fill"):
            return (Array(#"{"name":"new","flavor":"small","image":"debian"}"#.utf8), "application/json")
        case (.post, "/v1/placement/explain"):
            return (Array(#"{"flavor":"small","image":"debian"}"#.utf8), "application/json")
        case (.post, "/v1/api-keys"): return (Array(#"{"name":"new"}"#.utf8), "application/json")
        case (.post, "/v1/groups"): return (Array(#"{"name":"new"}"#.utf8), "application/json")
        case (.post, "/v1/roles"): return (Array(#"{"name":"new","permissions":{}}"#.utf8), "application/json")
        case (.patch, "/v1/roles/{name}"): return (Array(#"{"description":"x"}"#.utf8), "application/json")
        default: break
        }
        switch route.body {
        case .json(let schema), .optionalJSON(let schema): return (Sample.good(schema).bytes, "application/json")
        case .form: return (Array("grant_type=x".utf8), "application/x-www-form-urlencoded")
        case .stream: return ([1, 2, 3], "application/octet-stream")
        case .none: return (nil, "application/json")
        }
    }

    private static func send(
        _ route: Route, _ client: Client, _ path: String, as user: String?, _ headers: [String: String] = [:]
    ) async throws -> Reply {
        let (bytes, type) = body(route)
        return try await client.send(route.method, path, as: user, body: bytes, type: type, headers: headers)
    }

    private static let absentID = "00000000-0000-7000-8000-000000000000"

    private static func path(_ route: Route, _ fixtures: Fixtures, _ owner: User, isThere: Bool) -> String {
        let path = fixtures.path(route.pattern, owner: owner)
        guard !isThere else { return path }
        guard let id = path.split(separator: "/").first(where: { $0.utf8.count == 36 }) else {
            return path.replacing("watcher", with: "nosuch")
        }
        return path.replacing(id, with: absentID)
    }

    private static func check(
        _ reply: Reply, _ expected: Expectation, _ context: @autoclosure () -> String
    ) {
        let told = "\(context()): \(reply.status) \(reply.text.prefix(300))"
        switch expected {
        case .refused(let status):
            #expect(reply.status == status, "\(told)")
            // Nothing of the resource may be told.
            #expect(!reply.text.contains("secret-image") && !reply.text.contains("laptop"), "\(told)")
        case .allowed:
            #expect(![401, 403, 404].contains(reply.status) && reply.status < 500, "\(told)")
        }
    }

    /// What must be as it was, whoever was refused.
    private static func record(_ client: Client) async throws -> [String] {
        var texts: [String] = []
        for route in served where route.method == .get && !route.pattern.contains("{") && route.pattern != "/v1/events"
        {
            texts.append("\(route.pattern): " + (try await client.get(route.pattern, as: "root").text))
        }
        return texts
    }

    @Test("whoever may not is refused as the table says, and nothing has changed; whoever may is let in")
    func everyRoute() async throws {
        var rows = 0
        let (site, fixtures) = try await Self.site()
        let ann = site.users["ann"]!
        var allowed: [(Route, Viewer)] = []
        rows += try await site.test { client async throws in
            let before = try await Self.record(client)
            var rows = 0
            for route in Self.served {
                for viewer in Self.viewers() {
                    for isThere in [true, false] where isThere || route.pattern.contains("{") {
                        let expected = Self.expected(route, viewer, isThere: isThere)
                        guard expected != .allowed || route.method == .get else { continue }
                        rows += 1
                        let path = Self.path(route, fixtures, ann, isThere: isThere)
                        let reply = try await Self.send(route, client, path, as: viewer.name)
                        Self.check(reply, expected, "\(viewer.name) \(route.method) \(path) (\(route.permission))")
                    }
                }
            }
            #expect(try await Self.record(client) == before)
            return rows
        }
        for route in Self.served where route.method != .get {
            for viewer in Self.viewers() where Self.expected(route, viewer, isThere: true) == .allowed {
                allowed.append((route, viewer))
            }
        }
        for (route, viewer) in allowed {
            rows += 1
            // A site for each: some delete what the next would want.
            let (site, fixtures) = try await Self.site()
            let ann = site.users["ann"]!
            try await site.test { client async throws in
                let path = Self.path(route, fixtures, ann, isThere: true)
                let reply = try await Self.send(route, client, path, as: viewer.name)
                Self.check(reply, .allowed, "\(viewer.name) \(route.method) \(path)")
            }
        }
        print("permission matrix: \(rows) rows of \(Self.served.count) routes × \(Self.viewers().count) callers")
        #expect(rows > 1000)
    }

    @Test("a token that is none, too old, revoked, or of somebody disabled opens no route")
    func tokens() async throws {
        let (site, fixtures) = try await Self.site()
        let ann = site.users["ann"]!
        let expired = try await site.token(of: ann, issuedBefore: .seconds(3600))
        let early = try await site.token(of: ann, issuedBefore: .seconds(-3600))
        try await site.add("gone", roles: ["superuser"], account: "default")
        try await site.add("off", roles: ["superuser"], account: "default")
        try await site.add("shut", roles: ["user"], account: "shut")
        try await site.store.write { sql in
            var gone = try #require(try sql.users.find(name: "gone"))
            gone.tokensValidAfter = SystemTime().timestamp + .seconds(60)
            try sql.users.update(gone)
            var off = try #require(try sql.users.find(name: "off"))
            off.enabled = false
            try sql.users.update(off)
            var account = try #require(try sql.accounts.find(name: "shut"))
            account.enabled = false
            try sql.accounts.update(account)
        }
        let good = site.token("root")
        let tampered = good.dropLast(2) + (good.hasSuffix("AA") ? "BB" : "AA")
        let tokens = [
            nil, "", "Bearer", "Bearer x", "Bearer a.b.c", "Basic cm9vdDp4", "bearer \(good)x", "Bearer \(tampered)",
            "Bearer \(expired)", "Bearer \(early)", "Bearer \(site.token("gone"))", "Bearer \(site.token("off"))",
            "Bearer \(site.token("shut"))",
        ]
        let rows = try await site.test { client async throws in
            let before = try await Self.record(client)
            var rows = 0
            for route in Self.served {
                let path = Self.path(route, fixtures, ann, isThere: true)
                for token in tokens {
                    rows += 1
                    let reply = try await Self.send(
                        route, client, path, as: nil, token.map { ["Authorization": $0] } ?? [:])
                    #expect(reply.status == 401, "\(route.method) \(route.pattern) \(token?.prefix(12) ?? "-")")
                    #expect(reply.header("WWW-Authenticate")?.contains("Bearer") == true)
                    #expect(reply.code == "invalid_token")
                }
            }
            #expect(try await Self.record(client) == before)
            return rows
        }
        print(
            "permission matrix: \(rows) rows of \(Self.served.count) routes × \(tokens.count) tokens that are not good")
    }

    @Test("the documentation says of each route who may, as the table does")
    func documented() async throws {
        let document = OpenAPIDocument.make(APIRoutes.all, version: "test")
        for route in APIRoutes.all where route.isServed {
            let operation = document["paths"]?[route.pattern]?[route.method.rawValue.lowercased()]
            #expect(operation?["x-permission"]?.string == route.permission.rawValue)
            guard !route.permission.isOpen else { continue }
            for role in Role.allCases {
                let word = operation?["x-reach"]?[role.rawValue]?.string
                let reach = Rights.builtIn(role)[route.permission]
                #expect(word == (reach == .none ? nil : reach.word), "\(route.pattern) \(role)")
            }
        }
    }
}
