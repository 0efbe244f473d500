import Foundation
import RoostClient
import Testing

/// The typed client against the program as it was built: what its values read is what the API writes.
@Suite("RoostClient and the manager", .serialized)
struct ClientLibraryTests {
    private static let password = "correct horse battery"

    private static func withSite(
        _ body: (ManagerProcess, RoostClient, @Sendable (any TokenSource) -> RoostClient.Configuration) async throws ->
            Void
    ) async throws {
        let manager = try await ManagerProcess.start(logLevel: "error")
        let (address, authority) = (manager.address, manager.folder + "/data/ca.pem")
        let configuration: @Sendable (any TokenSource) -> RoostClient.Configuration = { tokens in
            RoostClient.Configuration(endpoint: address, authorityFile: authority, tokens: tokens)
        }
        let secret = try manager.file("admin-password").trimmingCharacters(in: .whitespacesAndNewlines)
        let tokens = try await RoostClient.with(configuration(NoToken())) { roost in
            try await roost.oauth.signIn(name: "admin", password: secret)
        }
        try await RoostClient.with(configuration(Session(tokens))) { try await body(manager, $0, configuration) }
        _ = try await manager.stop()
        manager.remove()
    }

    @Test("every kind of resource is read, made, changed and taken away")
    func resources() async throws {
        try await Self.withSite { _, roost, _ in
            var flavor = try await roost.flavors.create(.init(name: "small", vcpus: 1, ramMiB: 512, diskGiB: 4))
            let seen = try await roost.flavors.tagged("small")
            flavor = try await roost.flavors.change(
                "small", .init(name: "tiny", properties: ["a": "b"]), ifMatch: seen.tag)
            #expect(flavor.name == "tiny" && flavor.properties == ["a": "b"])
            let changed = await #expect(throws: ClientError.self) {
                try await roost.flavors.delete("tiny", ifMatch: seen.tag)
            }
            #expect(changed?.problem?.code == "precondition_failed")

            let account = try await roost.accounts.create(.init(name: "lab", description: "The lab"))
            let ann = try await roost.users.create(
                .init(name: "ann", password: Self.password, roles: ["account_owner"], account: "lab"))
            #expect(try await roost.accounts.change("lab", .init(owner: .set("ann"))).ownerID == ann.id)
            #expect(try await roost.users.change("ann", .init(email: .set("a@example.org"))).email == "a@example.org")
            #expect(try await roost.users.change("ann", .init(email: .remove)).email == nil)
            let group = try await roost.groups.create(.init(name: "team", account: account.name))
            try await roost.groups.add("ann", to: group.id)
            #expect(try await roost.groups.show(group.id).members == ["ann"])
            try await roost.groups.remove("ann", from: group.id)
            let role = try await roost.roles.create(.init(name: "watcher", permissions: ["instanceRead": "all"]))
            #expect(!role.isBuiltIn)
            let roles = try await roost.roles.list().all()
            #expect(roles.contains { $0.name == "superuser" && $0.isBuiltIn })

            let apart = try await roost.serverGroups.create(
                .init(name: "apart", policy: .antiAffinity, maximumPerHost: 2))
            #expect(apart.policy == .antiAffinity && apart.maximumPerHost == 2 && apart.instances == [])
            let listed = try await roost.serverGroups.list(["policy": "anti-affinity"]).all()
            #expect(listed.map(\.id) == [apart.id] && listed[0].instances == nil && listed[0].instanceCount == 0)
            #expect(try await roost.serverGroups.show("apart") == apart)
            try await roost.serverGroups.delete("apart")

            let quota = try await roost.quotas.change(account: "lab", .init(limits: ["vcpus": 4]))
            #expect(quota.effectiveLimits["vcpus"] == 4 && quota.used["vcpus"] == 0)
            #expect(try await roost.quotas.list().all().contains { $0.name == "lab" })
            #expect(try await roost.nodes.list().all().isEmpty)
            #expect(try await roost.images.list().all().isEmpty)
            #expect(try await roost.usage(["group_by": "user"]).all().isEmpty)
            #expect(try await roost.users.me().name == "admin")
        }
    }

    @Test("pages are fetched one by one, and events come after the one that was seen")
    func streams() async throws {
        try await Self.withSite { _, roost, _ in
            for number in 0..<5 {
                _ = try await roost.flavors.create(.init(name: "f\(number)", vcpus: 1, ramMiB: 64, diskGiB: 1))
            }
            var query: ListQuery = [:]
            query.pageSize = 2
            query.sort = ["-name"]
            var sizes: [Int] = []
            for try await page in roost.flavors.list(query).pages { sizes.append(page.items.count) }
            #expect(sizes.reduce(0, +) == 5 && sizes[0] == 2)
            #expect(try await roost.flavors.list(query).all().map(\.name) == ["f4", "f3", "f2", "f1", "f0"])

            let last = try #require(try await roost.events.list().all().last)
            #expect(last.kind == "flavor.created" && last.actor == "admin")
            async let next: Event? = {
                for try await event in roost.events.follow(after: last.sequence) { return event }
                return nil
            }()
            _ = try await roost.flavors.create(.init(name: "later", vcpus: 1, ramMiB: 64, diskGiB: 1))
            #expect(try await next?.resource.name == "later")
        }
    }

    @Test("an API key signs in by itself and does what its scopes cover; a session is renewed until it is revoked")
    func tokens() async throws {
        try await Self.withSite { _, roost, configuration in
            let key = try await roost.apiKeys.create(.init(name: "robot", scopes: ["flavors:read"]))
            let tokens = APIKeyTokens(id: key.id, secret: try #require(key.secret))
            try await RoostClient.with(configuration(tokens)) { robot in
                #expect(try await robot.flavors.list().all().isEmpty)
                let refused = await #expect(throws: ClientError.self) { _ = try await robot.users.list().all() }
                #expect(refused?.problem?.status == 403)
                try await roost.apiKeys.delete(key.id)
            }
            _ = try await roost.users.create(.init(name: "bob", password: Self.password))
            let bobs = try await RoostClient.with(configuration(NoToken())) {
                try await $0.oauth.signIn(name: "bob", password: Self.password)
            }
            var stale = bobs
            stale.accessToken = "run out"
            try await RoostClient.with(configuration(Session(stale))) { bob in
                #expect(try await bob.users.me().name == "bob")
                let refresh = try #require(bobs.refreshToken)
                // It was traded already: whoever comes with it again ends the session.
                await #expect(throws: ClientError.self) { try await bob.exchange.refresh(refresh) }
            }
        }
    }
}
