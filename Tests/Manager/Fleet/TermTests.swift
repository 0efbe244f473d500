import Foundation
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Testing
import TestsSupportWaiting

@testable import ManagerFleet
@testable import ManagerFleetNetwork

@Suite("The fleet among several managers", .timeLimit(.minutes(2)))
struct TermTests {
    private func goodbye(
        _ fixture: FleetFixture, _ node: NodeID, _ credential: TestAgent.Credential
    ) async throws
        -> Roost_V1_Goodbye?
    {
        let agent = try await TestAgent.connect(port: fixture.port, credential: credential)
        let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
        guard case .goodbye(let goodbye)? = try await agent.exchange(hello).last else { return nil }
        return goodbye
    }

    @Test("an agent that comes to a manager that does not lead is sent to the one that does; joining works anywhere")
    func redirects() async throws {
        try await FleetFixture.run { fixture in
            fixture.fleet.stopLeading()
            let (node, credential) = try await fixture.joined("cn1")
            let goodbye = try #require(try await goodbye(fixture, node, credential))
            #expect(goodbye.code == "not_leader" && goodbye.leaderAddress == "leader.test:7401")
            #expect(try await fixture.node(node)?.liveness == .never)
        }
    }

    @Test("when its term ends, sessions end with it; the record refuses what an old leader still wants to write")
    func handover() async throws {
        try await FleetFixture.run { fixture in
            let (node, credential) = try await fixture.joined("cn1")
            let agent = try await TestAgent.connect(port: fixture.port, credential: credential)
            try await agent.channel.executeThenClose { inbound, outbound in
                var hello = TestAgent.hello(node: node, site: fixture.authority.site)
                if case .hello(var body) = hello {
                    body.features = [ProtocolFeature.managers]
                    hello = .hello(body)
                }
                try await outbound.write(ByteBuffer(bytes: hello.encoded()))
                try await eventually("the session is open") { fixture.fleet.openSessions == 1 }
                // Another takes over; this one has not noticed yet.
                _ = try await FleetFixture.term(fixture.store, at: fixture.time.timestamp)
                let before = try await fixture.node(node)
                try await outbound.write(
                    ByteBuffer(bytes: ProtocolWire.Message.inventory(.with { $0.hostName = "changed" }).encoded()))
                var decoder = FrameDecoder()
                var messages: [ProtocolWire.Message] = []
                read: for try await buffer in inbound {
                    buffer.withUnsafeReadableBytes { decoder.append($0) }
                    while let frame = try decoder.next() {
                        messages.append(try ProtocolWire.Message(frame: frame))
                        if case .goodbye? = messages.last { break read }
                    }
                }
                guard case .welcome(let welcome)? = messages.first else {
                    Issue.record("no welcome: \(messages)")
                    return
                }
                #expect(welcome.managerAddresses == ["leader.test:7401", "other.test:7401"])
                #expect(welcome.features == ["managers"])
                #expect(try await fixture.node(node) == before, "nothing of it was written")
            }
            fixture.fleet.stopLeading()
            #expect(fixture.fleet.openSessions == 0)
            #expect(try await goodbye(fixture, node, credential)?.code == "not_leader")
            // Leading again, it takes the node again.
            _ = fixture.fleet.begin(try await FleetFixture.term(fixture.store, at: fixture.time.timestamp))
            try await fixture.session(of: node, credential) { _ in }
        }
    }
}
