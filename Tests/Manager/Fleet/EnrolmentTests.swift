import Crypto
import Foundation
import Logging
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Synchronization
import Testing
import TestsSupportWaiting

@testable import ManagerFleet
@testable import ManagerFleetNetwork

extension ContentDigest {
    static func of(_ text: String) -> ContentDigest? { ContentDigest(bytes: SHA256.hash(data: Array(text.utf8))) }
}

/// How nodes come to be trusted, and how that ends, on a real record and with real certificates.
@Suite("Enrolment (SEC-07)", .timeLimit(.minutes(5)))
struct EnrolmentTests {
    @Test("a token gives one certificate, by which the manager knows the node from then on")
    func join() async throws {
        try await FleetFixture.run { fixture in
            let key = NodeKey()
            let secret = try await fixture.token()
            let answer = try await fixture.join(secret, as: "cn1.site.example", key: key).get()
            let id = try #require(NodeID(bytes: answer.nodeID))
            let anchor = try TrustAnchor(authorityDER: Array(answer.authorityCertificateDer))
            let peer = try anchor.verify(leafDER: Array(answer.certificateDer), at: fixture.time.timestamp).get()
            #expect(peer.node == id && peer.site == fixture.authority.site)
            #expect(key.matches(certificateDER: Array(answer.certificateDer)))
            let node = try #require(try await fixture.node(id))
            #expect(node.name == "cn1.site.example" && node.certificateSerial == peer.serial && node.liveness == .never)
            #expect(await fixture.fleet.admit(peer) == nil)
        }
    }

    @Test("single use: also of many who try at once, one joins")
    func once() async throws {
        try await FleetFixture.run { fixture in
            let secret = try await fixture.token()
            let results = try await withThrowingTaskGroup(of: Result<Roost_V1_EnrolmentAnswer, SessionRefusal>.self) {
                group in
                for number in 0..<12 { group.addTask { try await fixture.join(secret, as: "cn\(number)") } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let refusals = results.compactMap { result -> SessionRefusal? in
                if case .failure(let refusal) = result { refusal } else { nil }
            }
            #expect(refusals == Array(repeating: .joinTokenUsed, count: 11))
            #expect(try await fixture.store.read { try $0.nodes.list().count } == 1)
        }
    }

    @Test("who may not join is told why, and no node is made of it")
    func refusals() async throws {
        try await FleetFixture.run { fixture in
            let late = try await fixture.token(lifetime: 60)
            fixture.time.pass(.seconds(60))
            let named = try await fixture.token(for: "cn5")
            let open = try await fixture.token()
            _ = try await fixture.joined("taken")
            let good = try NodeKey().certificateRequest(name: "x")
            var forged = good
            forged[forged.count - 3] ^= 1
            let cases: [(String, String, [UInt8], SessionRefusal)] = [
                (late, "cn1", good, .joinTokenExpired), ("rjt_guess", "cn1", good, .joinTokenInvalid),
                ("", "cn1", good, .joinTokenInvalid), (named, "cn1", good, .joinTokenInvalid),
                (open, "taken", good, .nodeNameTaken), (open, "cn1", [], .certificateRequestInvalid),
                (open, "cn1", [1, 2, 3], .certificateRequestInvalid), (open, "cn1", forged, .certificateRequestInvalid),
                (open, "cn1", Array(repeating: 0x30, count: 20_000), .certificateRequestInvalid),
                (open, "", good, .certificateRequestInvalid), (open, "-x", good, .certificateRequestInvalid),
                (open, "../etc", good, .certificateRequestInvalid), (open, "a b", good, .certificateRequestInvalid),
                (open, "$(id)", good, .certificateRequestInvalid), (open, "a\nb", good, .certificateRequestInvalid),
                (open, "a..b", good, .certificateRequestInvalid),
                (open, String(repeating: "a", count: 64), good, .certificateRequestInvalid),
            ]
            for (secret, name, request, expected) in cases {
                let result = try await fixture.join(secret, as: name, request: request)
                guard case .failure(let refusal) = result else {
                    Issue.record("'\(name)' joined")
                    continue
                }
                #expect(refusal == expected, "'\(name)'")
            }
            #expect(try await fixture.store.read { try $0.nodes.list().map(\.name) } == ["taken"])
            // What was refused did not use the tokens up.
            _ = try await fixture.join(open, as: "cn1").get()
            _ = try await fixture.join(named, as: "cn5").get()
        }
    }

    @Test("a certificate that is renewed over TLS takes the old one's place in the record; both are good for now")
    func renewal() async throws {
        try await FleetFixture.run { fixture in
            let (id, credential) = try await fixture.joined("cn1")
            let key = NodeKey()
            let agent = try await TestAgent.connect(port: fixture.port, credential: credential)
            let request = ProtocolWire.Message.enrolmentRequest(
                try .with {
                    $0.nodeName = "another"
                    $0.certificateRequestDer = Data(try key.certificateRequest(name: "another"))
                })
            let hello = TestAgent.hello(node: id, site: fixture.authority.site)
            let bytes = try hello.encoded() + request.encoded()
            guard case .enrolmentAnswer(let answer)? = try await agent.exchange(bytes, expecting: 2).last
            else {
                Issue.record("no certificate")
                return
            }
            #expect(NodeID(bytes: answer.nodeID) == id, "it stays the node that its certificate says")
            let renewed = TestAgent.Credential(key: key, der: Array(answer.certificateDer))
            let node = try #require(try await fixture.node(id))
            #expect(node.name == "cn1")
            let anchor = try TrustAnchor(authorityDER: fixture.authority.certificateDER)
            let serial = try anchor.verify(leafDER: renewed.der, at: fixture.time.timestamp).get().serial
            #expect(node.certificateSerial == serial)
            // The agent may die before it has kept the new one.
            for good in [renewed, credential] { try await fixture.session(of: id, good) { _ in } }
        }
    }

    @Test("a removed node is refused at once, with either certificate; its session ends; its name can be had anew")
    func removal() async throws {
        try await FleetFixture.run { fixture in
            let (id, credential) = try await fixture.joined("cn1")
            let term = try await FleetFixture.term(fixture.store, at: fixture.time.timestamp)
            let watching = Task { await fixture.fleet.lead(term) }
            defer { watching.cancel() }
            try await eventually("it leads") { fixture.fleet.term == term }
            async let ended = fixture.greet(id, credential)
            try await eventually("the session is open") { fixture.fleet.openSessions == 1 }
            let now = fixture.time.timestamp
            try await fixture.store.write { sql in
                _ = try Commands(in: sql, actor: .console, at: now, settings: LifecycleSettings()).removeNode("cn1")
            }
            #expect(try await ended == .nodeRemoved)
            #expect(try await fixture.greet(id, credential) == .certificateRevoked)
            let image = ImageID.generate(at: now)
            #expect(!fixture.fleet.mayPull(.node(id), image), "no chunks either")

            let (next, fresh) = try await fixture.joined("cn1")
            #expect(next != id)
            try await fixture.session(of: next, fresh) { _ in }
            #expect(try await fixture.greet(id, credential) == .certificateRevoked, "the old one stays refused")
            #expect(try await fixture.greet(next, credential) == .certificateRevoked)
        }
    }

    @Test("the log tells who joined and who was refused, and no token (SEC-14)")
    func log() async throws {
        let lines = Mutex<[String]>([])
        let sink = LogSink { line in lines.withLock { $0.append(line) } }
        try await FleetFixture.run(logger: Logger(label: "test") { _ in sink }) { fixture in
            let (used, spent) = (try await fixture.token(), try await fixture.token())
            _ = try await fixture.join(spent, as: "cn0").get()
            let key = NodeKey()
            for (secret, expected) in [
                (used, nil), (spent, SessionRefusal.joinTokenUsed), ("rjt_guessed-1", .joinTokenInvalid),
            ] {
                let request = ProtocolWire.Message.enrolmentRequest(
                    try .with {
                        $0.joinToken = secret
                        $0.nodeName = "cn1"
                        $0.certificateRequestDer = Data(try key.certificateRequest(name: "cn1"))
                    })
                let agent = try await TestAgent.connect(port: fixture.port, credential: nil)
                let last = try await agent.exchange(request.encoded()).last
                if case .goodbye(let goodbye)? = last { #expect(SessionEnd(goodbye).refusal == expected) }
            }
            let log = lines.withLock { $0.joined(separator: "\n") }
            #expect(
                log.contains("node joined") && log.contains("join_token_used") && log.contains("join_token_invalid"))
            for secret in [used, spent, "rjt_guessed-1"] { #expect(!log.contains(secret)) }
            let events = try await fixture.store.read { try $0.events.list(after: 0, .everything, limit: 100) }
            #expect(events.contains { $0.kind == "node.joined" })
            for secret in [used, spent] { #expect(!"\(events)".contains(secret)) }
        }
    }

    @Test("chunks of an image go to nodes that it is assigned to, and to nobody else")
    func pulling() async throws {
        try await FleetFixture.run { fixture in
            let (first, _) = try await fixture.joined("cn1")
            let (second, _) = try await fixture.joined("cn2")
            let (image, now) = (ImageID.generate(at: fixture.time.timestamp), fixture.time.timestamp)
            try await fixture.store.write { sql in
                try sql.images.insert(
                    ImagePlacement(image: image, node: first, upstream: nil, requestedAt: now, updatedAt: now))
            }
            #expect(fixture.fleet.mayPull(.node(first), image))
            #expect(!fixture.fleet.mayPull(.node(second), image))
            #expect(!fixture.fleet.mayPull(.node(first), .generate(at: now)))
            #expect(!fixture.fleet.mayPull(.manager, image))
        }
    }
}

/// Hands on each log line whole, of every level.
struct LogSink: LogHandler {
    let take: @Sendable (String) -> Void
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    init(_ take: @escaping @Sendable (String) -> Void) { self.take = take }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        take("\(event.level) \(event.message) \(metadata) \(event.metadata ?? [:])")
    }
}
