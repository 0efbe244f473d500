import AgentManagers
import AgentUplink
import Foundation
import Glibc
import Logging
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Synchronization
import Testing

/// Three real managers on a real MariaDB server, behind a real HAProxy.
@Suite("Several managers", .serialized, .timeLimit(.minutes(5)))
struct SeveralManagersTests {
    /// An agent that only counts its sessions.
    private final class Agent: UplinkDelegate {
        struct State {
            var opened = 0
            var isOpen = false
            var learned: [ManagerAddress] = []
        }

        let state = Mutex(State())

        func hello() async -> Roost_V1_Hello {
            .with {
                $0.bootID = Data(repeating: 1, count: 16)
                $0.processID = Data(repeating: 2, count: 16)
            }
        }
        func sessionStarted(_ welcome: Roost_V1_Welcome, send: UplinkSender) async {
            state.withLock { state in
                state.opened += 1
                state.isOpen = true
            }
        }
        func received(_ message: ProtocolWire.Message) async {}
        func heartbeat() async -> Roost_V1_Heartbeat { .init() }
        func sessionEnded(_ end: SessionEnd) async { state.withLock { $0.isOpen = false } }
        func certificateRenewed(_ identity: EnrolledIdentity) async throws {}
        func managersLearned(_ managers: [ManagerAddress]) async { state.withLock { $0.learned = managers } }

        var isOpen: Bool { state.withLock { $0.isOpen } }
    }

    private func join(_ cluster: ManagerCluster, token: String) async throws -> EnrolledIdentity {
        let answer = try await cluster.request("POST", "/v1/nodes/tokens", "{}", token: token)
        let secret = try #require(answer["token"], "\(answer)")
        let text = try #require(answer["ca_fingerprint"])
        let fingerprint = try #require(CertificateFingerprint(text))
        return try await Enrolment.join(
            managerAddress: ManagerAddress(host: "127.0.0.1", port: cluster.agents), token: secret,
            caFingerprint: fingerprint, nodeName: "cn1", softwareVersion: "0.0-test")
    }

    @Test(
        "the leader is killed: another leads within 10 s, nothing acknowledged is lost, agents come back by the proxy")
    func failover() async throws {
        let cluster = try ManagerCluster()
        do {
            try await failover(cluster)
        } catch {
            try await cluster.end()
            throw error
        }
        try await cluster.end()
    }

    private func failover(_ cluster: ManagerCluster) async throws {
        try cluster.startAll()
        try cluster.startProxy()
        try await cluster.eventually("the proxy answers", within: .seconds(60)) {
            try await cluster.request("GET", "/readyz").status == 200
        }
        try await cluster.eventually("one leads", within: .seconds(20)) { await cluster.leader() != nil }
        let token = try await cluster.signIn()
        try await cluster.eventually("all are alive", within: .seconds(20)) {
            let list = try await cluster.request("GET", "/v1/managers", token: token).body
            return list.components(separatedBy: #""status":"alive""#).count == 4
                && list.components(separatedBy: #""role":"leader""#).count == 2
        }
        let identity = try await cluster.eventuallyValue("a node joins", within: .seconds(30)) {
            try await join(cluster, token: token)
        }
        let agent = Agent()
        let uplink = try Uplink(
            configuration: .init(
                managers: [ManagerAddress(host: "127.0.0.1", port: cluster.agents)], softwareVersion: "0.0-test",
                times: SessionTimes(handshake: .seconds(3), heartbeatInterval: .milliseconds(500)),
                backoff: Backoff(first: .milliseconds(200), maximum: .seconds(2), jitter: 0.5)),
            identity: identity, delegate: agent, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { await uplink.run() }
        defer { running.cancel() }
        try await cluster.eventually("the agent has a session", within: .seconds(30)) { agent.isOpen }
        #expect(Set(agent.state.withLock { $0.learned }.map(\.port)).isSubset(of: Set(cluster.members.map(\.agents))))

        // A client that creates, one after another, all through the fault.
        let acknowledged = Mutex<[String]>([])
        let client = Task {
            var number = 0
            while !Task.isCancelled {
                number += 1
                let name = "flavor-\(number)"
                let body = #"{"name":"\#(name)","vcpus":1,"ram_mib":64,"disk_gib":1}"#
                let answer = try? await cluster.request("POST", "/v1/flavors", body, token: token)
                if answer?.status == 201 { acknowledged.withLock { $0.append(name) } }
                // The list that is compared in the end has one page.
                try? await Task.sleep(for: .milliseconds(50))
            }
        }
        let first = try #require(await cluster.leader())
        let took = try await kill(first, in: cluster, agent)
        #expect(took < .seconds(10), "another led after \(took)")

        // It comes back and follows; then the leader is stopped in good order, and hands over at once.
        try cluster.start(first)
        try await cluster.eventually("it is ready again", within: .seconds(30)) {
            try await cluster.request("GET", "/readyz", to: first).status == 200
        }
        let second = try #require(await cluster.leader())
        let told = try cluster.command("stepdown", on: second)
        #expect(told.contains("leads now") && !told.hasPrefix(second.name + " "), "\(told)")
        try await cluster.eventually("the agent has a session", within: .seconds(20)) { agent.isOpen }
        let third = try #require(await cluster.leader())
        #expect(third.name != second.name)
        cluster.send(SIGTERM, to: third.name)
        let handover = try await cluster.eventually("another leads", within: .seconds(10)) {
            let leader = await cluster.leader()
            return leader != nil && leader?.name != third.name
        }
        #expect(handover < .seconds(4), "handed over after \(handover)")
        #expect(cluster.waitForEnd(of: third.name) == 0)
        client.cancel()
        await client.value

        let status = try cluster.command("status", on: first)
        #expect(status.contains("leader") && status.contains("alive"), "\(status)")
        let kept = try await cluster.request("GET", "/v1/flavors?limit=1000", token: token).body
        let names = acknowledged.withLock { $0 }
        #expect(!names.isEmpty)
        for name in names { #expect(kept.contains("\"\(name)\""), "\(name) was acknowledged and is lost") }
        print("several managers: leader killed, next after \(took); \(names.count) creations acknowledged, none lost")
    }

    /// Kills the leader.
    ///
    /// - Returns: how long it took until another led and had the agent's session.
    private func kill(
        _ leader: ManagerCluster.Member, in cluster: ManagerCluster, _ agent: Agent
    ) async throws -> Duration {
        let before = agent.state.withLock { $0.opened }
        let start = ContinuousClock.now
        cluster.send(SIGKILL, to: leader.name)
        try await cluster.eventually("another leads", within: .seconds(20)) {
            let next = await cluster.leader()
            return next != nil && next?.name != leader.name
        }
        let took = ContinuousClock.now - start
        try await cluster.eventually("the agent came back", within: .seconds(20)) {
            agent.state.withLock { $0.isOpen && $0.opened > before }
        }
        return took
    }

    @Test("what one manager does is told by the others' event streams, and a token revoked at one is refused at all")
    func everyManager() async throws {
        let cluster = try ManagerCluster()
        do {
            try cluster.startAll()
            for member in cluster.members {
                try await cluster.eventually("it is ready", within: .seconds(60)) {
                    try await cluster.request("GET", "/readyz", to: member).status == 200
                }
            }
            try cluster.startProxy()
            try await cluster.eventually("the proxy answers", within: .seconds(30)) {
                try await cluster.request("GET", "/readyz").status == 200
            }
            let token = try await cluster.signIn()
            let user = #"{"name":"ann","password":"a long password"}"#
            #expect(
                try await cluster.request("POST", "/v1/users", user, token: token, to: cluster.members[0]).status == 201
            )
            for member in cluster.members {
                #expect(try await cluster.request("GET", "/v1/users/ann", token: token, to: member).status == 200)
                let answer = try await cluster.request("GET", "/v1/events?kind=user.created", token: token, to: member)
                #expect(answer.body.contains(#""name":"ann""#))
            }
            // A stream that was open before, and at a manager that neither leads nor was asked.
            let other = try #require(cluster.members.last)
            let heard = try await cluster.follow(
                "/v1/events", of: other, token: token, until: "flavor.created", within: .seconds(10)
            ) {
                let flavor = #"{"name":"tiny","vcpus":1,"ram_mib":64,"disk_gib":1}"#
                let made = try await cluster.request(
                    "POST", "/v1/flavors", flavor, token: token, to: cluster.members[0])
                #expect(made.status == 201, "\(made)")
            }
            #expect(heard.contains("flavor.created"), "\(heard)")
            let change = #"{"enabled":false}"#
            let patched = try await cluster.request(
                "PATCH", "/v1/users/ann", change, token: token, to: cluster.members[1])
            #expect(patched.status == 200)
            let refused = try await cluster.request(
                "POST", "/oauth/token", "grant_type=password&username=ann&password=a%20long%20password",
                to: cluster.members[2], type: "application/x-www-form-urlencoded")
            #expect(refused.status == 400)

            // One that is gone for good is forgotten; one that lives is not.
            #expect(throws: ManagerProcess.Failure.self) {
                try cluster.command("forget", "m1", on: cluster.members[0])
            }
            cluster.send(SIGKILL, to: "m3")
            #expect(try cluster.command("forget", "m3", on: cluster.members[0]).contains("m3 is forgotten"))
            try await cluster.eventually("the list is without it", within: .seconds(10)) {
                let list = try await cluster.request("GET", "/v1/managers", token: token, to: cluster.members[0]).body
                return list.contains(#""name":"m1""#) && !list.contains(#""name":"m3""#)
            }
        } catch {
            try await cluster.end()
            throw error
        }
        try await cluster.end()
    }
}

extension ManagerCluster {
    /// Tries until it works.
    func eventuallyValue<Value: Sendable>(
        _ what: String, within limit: Duration, _ body: () async throws -> Value
    ) async throws -> Value {
        var value: Value?
        try await eventually(what, within: limit) {
            value = try await body()
            return true
        }
        return try #require(value)
    }
}
