import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolTrust
import Testing

@testable import ManagerFleet
@testable import ManagerFleetNetwork

/// Who gets images from the manager, whatever certificate the site's authority has signed for it.
@Suite("SEC-07 Chunks of the manager")
struct ChunkAdmissionTests {
    private func prefilled(_ site: FleetFixture, on nodes: [String]) async throws -> ImageID {
        let now = site.time.timestamp
        return try await site.store.write { sql in
            let user = User(
                id: .generate(at: now), name: "root", role: .superuser, account: "default", email: nil,
                passwordHash: "", tokensValidAfter: now, createdAt: now)
            try sql.users.insert(user)
            var image = Image(
                id: .generate(at: now), name: "debian", owner: user.id, visibility: .public, status: .active,
                sizeBytes: 1 << 30, createdAt: now, updatedAt: now)
            image.manifestDigest = ContentDigest(bytes: Array(repeating: 7, count: 32))
            try sql.images.insert(image)
            _ = try Commands(in: sql, actor: .console, at: now, settings: LifecycleSettings())
                .prefill(image.id.description, on: nodes)
            return image.id
        }
    }

    private func change(
        _ site: FleetFixture, _ body: @escaping @Sendable (Commands) throws -> Void
    ) async throws {
        let now = site.time.timestamp
        try await site.store.write { sql in
            try body(Commands(in: sql, actor: .console, at: now, settings: LifecycleSettings()))
        }
    }

    @Test("only a node to which the image is assigned, while it is on record and enabled")
    func permission() async throws {
        try await FleetFixture.run { site in
            let (first, second) = (try await site.joined("cn1").id, try await site.joined("cn2").id)
            let image = try await prefilled(site, on: ["cn1"])
            #expect(site.fleet.mayPull(.node(first), image))
            #expect(!site.fleet.mayPull(.node(second), image), "it was not assigned")
            #expect(!site.fleet.mayPull(.node(first), .generate(at: site.time.timestamp)), "another image")
            #expect(!site.fleet.mayPull(.manager, image))
            try await change(site) { _ = try $0.disableNodes(["cn1"], DrainOrder()) }
            #expect(!site.fleet.mayPull(.node(first), image), "it is disabled")
            try await change(site) { _ = try $0.enableNodes(["cn1"]) }
            #expect(site.fleet.mayPull(.node(first), image))
            try await change(site) { _ = try $0.removeNode("cn1") }
            #expect(!site.fleet.mayPull(.node(first), image), "it was removed")
        }
    }

    @Test("no certificate of a removed node, a revoked one, another role or another site opens a connection")
    func admission() async throws {
        try await FleetFixture.run { site in
            let anchor = try TrustAnchor(authorityDER: site.authority.certificateDER)
            func judge(_ der: [UInt8]) -> SessionRefusal? {
                switch anchor.verify(leafDER: der, at: site.time.timestamp).flatMap(site.fleet.admitToChunks) {
                case .success: nil
                case .failure(let refusal): refusal
                }
            }
            let node = try await site.joined("cn1")
            #expect(judge(node.credential.der) == nil)
            let manager = try site.authority.signManager(
                key: NodeKey(), dnsNames: ["m"], addresses: [], at: site.time.timestamp)
            #expect(judge(manager.der) == .wrongCertificateRole)
            let stranger = try SiteAuthority.create(site: .generate(at: site.time.timestamp), at: site.time.timestamp)
            let foreign = try stranger.signNode(
                requestDER: try NodeKey().certificateRequest(name: "cn1"), node: node.id, at: site.time.timestamp,
                lifetime: .seconds(3600))
            #expect(judge(foreign.der) == .unknownAuthority)
            // Signed by the site, but for a node that nobody knows.
            let unknown = try site.authority.signNode(
                requestDER: try NodeKey().certificateRequest(name: "x"), node: .generate(at: site.time.timestamp),
                at: site.time.timestamp, lifetime: .seconds(3600))
            #expect(judge(unknown.der) == .certificateRevoked)
            let serial = try #require(try await site.node(node.id)).certificateSerial
            let (id, now) = (node.id, site.time.timestamp)
            try await site.store.write { try $0.nodes.revoke(serial: serial, of: id, at: now) }
            #expect(judge(node.credential.der) == .certificateRevoked)
            let second = try await site.joined("cn2")
            try await change(site) { _ = try $0.removeNode("cn2") }
            #expect(judge(second.credential.der) == .certificateRevoked)
            let brief = try site.authority.signNode(
                requestDER: try NodeKey().certificateRequest(name: "x"), node: node.id, at: site.time.timestamp,
                lifetime: .seconds(60))
            site.time.pass(.seconds(61))
            #expect(judge(brief.der) == .certificateExpired)
        }
    }
}
