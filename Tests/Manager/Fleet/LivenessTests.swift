import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Testing
import TestsSupportWaiting

@testable import ManagerFleet
@testable import ManagerFleetNetwork

/// Which nodes are heard from: suspect after three missed intervals of 5 s, down after six (DESIGN §3).
@Suite("Liveness of nodes", .timeLimit(.minutes(5)))
struct LivenessTests {
    @Test("alive, suspect, down, and alive again with the next heartbeat")
    func silence() async throws {
        try await FleetFixture.run { fixture in
            let (id, credential) = try await fixture.joined("cn1")
            #expect(try await fixture.node(id)?.liveness == .never)
            try await fixture.fleet.expectNodes()
            await fixture.fleet.tick()
            #expect(try await fixture.node(id)?.liveness == .never, "one that never came is not down")

            try await fixture.session(of: id, credential) { send in
                let heardAt = fixture.time.timestamp
                #expect(try await fixture.node(id)?.liveness == .alive)
                for (seconds, liveness) in [
                    (14, Node.Liveness.alive), (1, .suspect), (14, .suspect), (1, .down), (60, .down),
                ] {
                    fixture.time.pass(.seconds(seconds))
                    await fixture.fleet.tick()
                    #expect(try await fixture.node(id)?.liveness == liveness)
                }
                #expect(
                    try await fixture.node(id)?.lastSeenAt == heardAt, "when it was heard last, not when it was missed")
                try await send(
                    .heartbeat(
                        .with {
                            $0.sequence = 1; $0.loadAverage1M = 1.5
                        }))
                try await eventually("the heartbeat is heard") { fixture.fleet.load(of: id)?.load.loadAverage == 1.5 }
                await fixture.fleet.tick()
                #expect(try await fixture.node(id)?.liveness == .alive)
                fixture.time.pass(.seconds(14))
                await fixture.fleet.tick()
                #expect(try await fixture.node(id)?.liveness == .alive)
            }
            #expect(
                try await fixture.eventKinds().filter { $0.hasPrefix("node.") && !$0.hasPrefix("node.token") }
                    == ["node.joined", "node.alive", "node.suspect", "node.down", "node.alive"])
        }
    }

    @Test("a lost connection is not silence yet; a node that comes back is alive at once")
    func reconnect() async throws {
        try await FleetFixture.run { fixture in
            let (id, credential) = try await fixture.joined("cn1")
            try await fixture.session(of: id, credential) { _ in }
            await fixture.fleet.tick()
            #expect(try await fixture.node(id)?.liveness == .alive)
            fixture.time.pass(.seconds(30))
            await fixture.fleet.tick()
            #expect(try await fixture.node(id)?.liveness == .down)
            try await fixture.session(of: id, credential) { _ in
                let node = try await fixture.node(id)
                #expect(node?.liveness == .alive && node?.sessionEpoch == SessionEpoch(2))
            }
        }
    }

    @Test("after a restart of the manager nodes have the usual time to come back")
    func restart() async throws {
        try await FleetFixture.run { fixture in
            let (id, credential) = try await fixture.joined("cn1")
            try await fixture.session(of: id, credential) { _ in }
            let next = FleetFixture.fleet(fixture.store, fixture.authority, fixture.time)
            fixture.time.pass(.seconds(3600))
            _ = next.begin(try await FleetFixture.term(fixture.store, at: fixture.time.timestamp))
            try await next.expectNodes()
            await next.tick()
            #expect(
                try await fixture.node(id)?.liveness == .alive, "that the manager was away says nothing of its nodes")
            fixture.time.pass(.seconds(15))
            await next.tick()
            #expect(try await fixture.node(id)?.liveness == .suspect)
            fixture.time.pass(.seconds(15))
            await next.tick()
            #expect(try await fixture.node(id)?.liveness == .down)
        }
    }

    @Test("what was found out of an older session changes nothing once a newer one is recorded")
    func overtaken() async throws {
        try await FleetFixture.run { fixture in
            let (id, credential) = try await fixture.joined("cn1")
            try await fixture.session(of: id, credential) { _ in }
            let before = try #require(try await fixture.node(id))
            try await fixture.session(of: id, credential) { _ in }
            let now = fixture.time.timestamp
            try await fixture.store.write { sql in
                try FleetReports(in: sql, at: now).setLiveness(
                    id, .down, session: before.sessionEpoch, lastSeenAt: nil, detail: "")
            }
            #expect(try await fixture.node(id)?.liveness == .alive)
        }
    }

    @Test("a node whose message waits for its turn is not silent: nothing more is read from it until then")
    func heldUp() throws {
        var core = FleetCore(
            settings: .init(chunkAddress: ":7403", lifecycle: LifecycleSettings(), softwareVersion: "1"))
        let id = NodeID.generate(at: SystemTime().timestamp)
        let connection = ConnectionID(1)
        func at(_ seconds: Int) -> Moment {
            Moment(timestamp: SystemTime().timestamp, uptime: Uptime(sinceStart: .seconds(seconds)))
        }
        func silent(_ effects: [FleetCore.Effect]) -> [Node.Liveness] {
            effects.compactMap { if case .notice(.liveness(let change)) = $0 { change.liveness } else { nil } }
        }
        let opening = FleetWork.openSession(
            connection, id, SessionFacts(bootID: "", softwareVersion: "1", remoteAddress: ""))
        _ = core.handle(.finished(opening, .success(.session(SessionEpoch(1)))), at: at(0))
        let batch = Roost_V1_UsageBatch.with {
            $0.spoolID = SpoolID.generate(at: SystemTime().timestamp).bytes
            $0.number = 1
        }
        guard case .work(let usage, _)? = core.handle(.received(connection, id, .usageBatch(batch)), at: at(1)).first
        else {
            Issue.record("usage is work for the store")
            return
        }
        #expect(silent(core.handle(.ticked, at: at(100))) == [])
        _ = core.handle(.finished(usage, .success(.counted(1))), at: at(100))
        #expect(silent(core.handle(.ticked, at: at(114))) == [])
        #expect(silent(core.handle(.ticked, at: at(115))) == [.suspect])
        #expect(silent(core.handle(.ticked, at: at(130))) == [.down])
    }

    @Test("a change that did not reach the record is found again")
    func notRecorded() {
        var state = FleetState()
        let id = NodeID.generate(at: SystemTime().timestamp)
        let start = Uptime(sinceStart: .zero)
        state.expect(id, recorded: .alive, epoch: SessionEpoch(1), at: start)
        let first = state.tick(now: start + .seconds(15), interval: .seconds(5))
        #expect(first.map(\.liveness) == [.suspect])
        #expect(state.tick(now: start + .seconds(16), interval: .seconds(5)).isEmpty)
        state.notRecorded(first[0])
        #expect(state.tick(now: start + .seconds(16), interval: .seconds(5)).map(\.liveness) == [.suspect])
    }

    @Test("a node that was down before this process began stays down until it is heard")
    func stillDown() {
        var state = FleetState()
        let id = NodeID.generate(at: SystemTime().timestamp)
        let start = Uptime(sinceStart: .zero)
        state.expect(id, recorded: .down, epoch: SessionEpoch(1), at: start)
        for seconds in [0, 14, 15, 29, 30, 100] {
            #expect(state.tick(now: start + .seconds(seconds), interval: .seconds(5)).isEmpty)
        }
    }

    @Test("of two sessions that open at once the newer stays, in whichever order they come")
    func openedAtOnce() {
        let id = NodeID.generate(at: SystemTime().timestamp)
        let now = Moment(of: SystemTime())
        let (older, newer) = (ConnectionID(1), ConnectionID(2))
        for isReversed in [false, true] {
            var state = FleetState()
            func open(_ connection: ConnectionID, _ epoch: UInt64) -> ConnectionID? {
                state.open(connection, of: id, epoch: SessionEpoch(epoch), at: now)
            }
            #expect((isReversed ? open(newer, 6) : open(older, 5)) == nil)
            #expect((isReversed ? open(older, 5) : open(newer, 6)) == older, "the older is to be closed")
            #expect(state.sessions[id]?.connection == newer)
            #expect(!state.close(older, of: id) && state.close(newer, of: id))
            // With nobody there, the one that comes is better than none.
            #expect(open(older, 5) == nil && state.sessions[id]?.connection == older)
        }
    }

    @Test("a node that was removed while its session opened is told so with its first push")
    func removedWhileOpening() {
        let (id, connection) = (NodeID.generate(at: SystemTime().timestamp), ConnectionID(1))
        let now = Moment(of: SystemTime())
        var core = FleetCore(
            settings: .init(chunkAddress: ":7403", lifecycle: LifecycleSettings(), softwareVersion: "0"))
        func closes(_ effects: [FleetCore.Effect]) -> [SessionRefusal] {
            effects.compactMap { if case .close(connection, let refusal) = $0 { refusal } else { nil } }
        }
        let facts = SessionFacts(bootID: "", softwareVersion: "", remoteAddress: "")
        _ = core.handle(
            .finished(.openSession(connection, id, facts), .success(.session(SessionEpoch(1)))), at: now)
        #expect(core.openSessions == 1)
        // Nothing new since a revision is no sign of that.
        let nothingNew = FleetWork.assignments(connection, id, since: Revision(1))
        #expect(closes(core.handle(.finished(nothingNew, .success(.assignments(nil))), at: now)).isEmpty)
        let first = FleetWork.assignments(connection, id, since: nil)
        #expect(closes(core.handle(.finished(first, .success(.assignments(nil))), at: now)) == [.nodeRemoved])
        #expect(core.openSessions == 0)
    }

    @Test("a second session of a node takes the place of the first, which is told so")
    func superseded() async throws {
        try await FleetFixture.run { fixture in
            let (id, credential) = try await fixture.joined("cn1")
            async let first = fixture.greet(id, credential)
            try await eventually("the first is open") { fixture.fleet.openSessions == 1 }
            let agent = try await TestAgent.connect(port: fixture.port, credential: credential)
            let hello = try TestAgent.hello(node: id, site: fixture.authority.site).encoded()
            guard case .welcome(let welcome)? = try await agent.exchange(hello, expecting: 1).first else {
                Issue.record("the second was not welcomed")
                return
            }
            #expect(welcome.sessionEpoch == 2)
            #expect(try await first == .superseded)
        }
    }
}
