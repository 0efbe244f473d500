import Foundation
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolWire
import SwiftProtobuf
import Testing

@testable import ManagerFleet

/// Chains that run: from a node's report to the plan, the record and what each node is told.
@Suite("Chains of images") struct ChainTests {
    /// A record with a chain of five nodes, and a core in which all have sessions.
    private final class Site {
        let folder = NSTemporaryDirectory() + "roost-chains-\(UUID().uuidString)"
        let store: Store
        let image = ImageID.generate(at: Timestamp(milliseconds: 1))
        let owner = UserID.generate(at: Timestamp(milliseconds: 1))
        let nodes = (1...6).map { NodeID.generate(at: Timestamp(milliseconds: Int64($0))) }
        let settings = FleetCore.Settings(chunkAddress: ":7403", lifecycle: LifecycleSettings(), softwareVersion: "0")
        var core: FleetCore
        var uptime = Duration.seconds(100)
        let start = Timestamp(milliseconds: 1_800_000_000_000)

        init() throws {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
            store = try Store(path: folder + "/roost.sqlite")
            core = FleetCore(settings: settings)
        }

        deinit {
            store.close()
            try? FileManager.default.removeItem(atPath: folder)
        }

        var now: Moment {
            Moment(timestamp: start + (uptime - .seconds(100)), uptime: Uptime(sinceStart: uptime))
        }

        func fill() async throws {
            let (image, owner, nodes, start) = (image, owner, nodes, start)
            try await store.write { sql in
                var value = Image(
                    id: image, name: "debian", owner: owner, visibility: .public, createdAt: start, updatedAt: start)
                value.status = .active
                value.sizeBytes = 400 << 20
                value.manifestDigest = ContentDigest.of("manifest")
                try sql.images.insert(value)
                for (number, id) in nodes.enumerated() {
                    var node = Node(id: id, name: "n\(number + 1)", certificateSerial: "\(number)", joinedAt: start)
                    node.liveness = .alive
                    node.inventory.chunkAddress = "n\(number + 1):7402"
                    try sql.nodes.insert(node)
                }
                for (number, id) in nodes.prefix(5).enumerated() {
                    try sql.images.insert(
                        ImagePlacement(
                            image: image, node: id, upstream: number == 0 ? nil : nodes[number - 1], requestedAt: start,
                            updatedAt: start))
                }
            }
            for (number, node) in nodes.prefix(5).enumerated() {
                let facts = SessionFacts(bootID: "", softwareVersion: "", remoteAddress: "")
                let work = FleetWork.openSession(ConnectionID(UInt64(number)), node, facts)
                _ = core.handle(.finished(work, .success(.session(SessionEpoch(1)))), at: now)
            }
            _ = try await handle(.looked)
        }

        /// Takes an event in, with all that follows from it on the record.
        @discardableResult
        func handle(_ event: FleetCore.Event) async throws -> [FleetWork] {
            var works: [FleetWork] = []
            var effects = core.handle(event, at: now)
            while !effects.isEmpty {
                guard case .work(let work, let at) = effects.removeFirst() else { continue }
                works.append(work)
                let settings = settings
                let answer = try await store.write { sql in try work.perform(in: sql, at: at, settings) }
                effects += core.handle(.finished(work, .success(answer)), at: now)
            }
            return works
        }

        func report(
            _ number: Int, _ state: Roost_V1_ImageState, chunks: UInt32, failure: Roost_V1_SourceFailure = .unspecified,
            of source: Int? = nil
        ) async throws -> [FleetWork] {
            let report = Roost_V1_StatusReport.with { report in
                report.images = [
                    .with {
                        $0.imageID = image.octets
                        $0.state = state
                        $0.chunksHeld = chunks
                        $0.chunksTotal = 100
                        $0.bytesPerSecond = 40_000_000
                        // As much as has come at 25 MB a second.
                        $0.bytesReceived = UInt64((uptime - .seconds(100)).components.seconds) * 25_000_000
                        $0.failure = failure
                        if let source { $0.failedSourceNodeID = nodes[source].octets }
                    }
                ]
            }
            return try await handle(
                .received(ConnectionID(UInt64(number)), nodes[number], .statusReport(report)))
        }

        func placement(_ number: Int) async throws -> ImagePlacement? {
            let (image, node) = (image, nodes[number])
            return try await store.read { try $0.images.placement(of: image, on: node) }
        }

        /// What a node is told of the image: whom to pull from and whom to serve, by name.
        func told(_ number: Int) async throws -> (sources: [String], serveTo: Set<Int>) {
            let (node, settings) = (nodes[number], settings)
            let set = try await store.read { sql in
                try AssignmentMessages(
                    sql: sql, node: node, settings: settings.lifecycle, managerChunkAddress: settings.chunkAddress
                ).set(since: nil)
            }
            let assignment = try #require(set?.images.first)
            return (
                assignment.sources.map { $0.address.split(separator: ":").first.map(String.init) ?? "" },
                Set(assignment.serveTo.compactMap { id in nodes.firstIndex { $0.octets == id } })
            )
        }
    }

    @Test("each node is told its upstream and who stands in, and whom it may serve") func neighbours() async throws {
        let site = try Site()
        try await site.fill()
        let third = try await site.told(2)
        #expect(third.sources == ["n2", "n1", "7403"])
        #expect(third.serveTo == [3, 4])
        let first = try await site.told(0)
        #expect(first.sources == ["7403"])
        #expect(first.serveTo == [1, 2])
    }

    @Test("mere progress is recorded once a second for all nodes together") func progress() async throws {
        let site = try Site()
        try await site.fill()
        for number in 0..<5 { #expect(try await site.report(number, .fetching, chunks: 10).isEmpty) }
        #expect(try await site.placement(0)?.chunksHeld == 0)
        let works = try await site.handle(.ticked)
        let recorded = works.compactMap { if case .progress(let seen, _) = $0 { seen.count } else { nil } }
        #expect(recorded == [5])
        #expect(try await site.placement(4)?.chunksHeld == 10)
        // What ends it is recorded at once, and not undone by what was said before.
        site.uptime += .seconds(1)
        for number in 0..<5 { _ = try await site.report(number, .fetching, chunks: 99) }
        let urgent = try await site.report(0, .held, chunks: 100)
        #expect(urgent.contains { if case .status = $0 { true } else { false } })
        _ = try await site.handle(.ticked)
        #expect(try await site.placement(0)?.state == .held)
        // And how fast it was is remembered for the next image: what it received, and not what a burst let through.
        let (image, node) = (site.image, site.nodes[0])
        let copies = try await site.store.read { try $0.chains.copies(of: image) }
        #expect(copies.first { $0.copy.node == node }?.throughput == 25_000_000)
    }

    @Test(
        "a host that fails its successor is gone around, on the record and in what all are told, and that is an event")
    func complaint() async throws {
        let site = try Site()
        try await site.fill()
        for number in 0..<5 { _ = try await site.report(number, .fetching, chunks: 50) }
        site.uptime += .seconds(1)
        let image = site.image
        let before = try await site.store.read { sql in try sql.nodes.list().map(\.assignmentRevision) }
        _ = try await site.report(2, .fetching, chunks: 50, failure: .silent, of: 1)
        // Who said it may speak on.
        #expect(site.core.state.heard[site.nodes[2]]?.heldUp == nil)
        #expect(try await site.placement(2)?.upstream == site.nodes[0])
        #expect(try await site.placement(1)?.upstream == site.nodes[4])
        #expect(try await site.placement(1)?.reason == "n2 gave no sign of life; pulls from n5")
        #expect(try await site.told(2).sources == ["n1", "7403"])
        #expect(try await site.told(3).sources == ["n3", "n1", "7403"])
        #expect(try await site.told(0).serveTo == [2, 3])
        #expect(try await site.told(4).serveTo == [1])
        // Everybody whom it concerns hears of it: all but the node that is in no chain.
        let after = try await site.store.read { sql in try sql.nodes.list().map(\.assignmentRevision) }
        #expect(zip(before, after).map { $0 != $1 } == [true, true, true, true, true, false])
        let events = try await site.store.read { try $0.events.list(after: 0, .everything, limit: 100) }
        let event = try #require(events.first { $0.kind == "image.chain_changed" })
        #expect(event.resource.id == "\(image)")
        #expect(event.detail == "n2 gave no sign of life: n2 pulls from n5, n3 pulls from n1")
        #expect(event.data == ["node": "n2", "cause": "source_silent"])
    }

    @Test("a session that ends takes its node out of the others' way at once") func endedSession() async throws {
        let site = try Site()
        try await site.fill()
        for number in 0..<5 { _ = try await site.report(number, .fetching, chunks: 50) }
        _ = try await site.handle(.closed(ConnectionID(3), site.nodes[3]))
        #expect(try await site.placement(4)?.upstream == site.nodes[2])
    }

    @Test("a node that is silent is missed within two seconds") func silence() async throws {
        let site = try Site()
        try await site.fill()
        for _ in 0..<8 {
            for number in 0..<5 where number != 2 || site.uptime < .seconds(101) {
                _ = try await site.report(number, .fetching, chunks: 50)
            }
            _ = try await site.handle(.looked)
            site.uptime += .milliseconds(500)
        }
        #expect(try await site.placement(3)?.upstream == site.nodes[1])
        #expect(try await site.placement(2)?.upstream == site.nodes[4])
    }

    @Test("a new leader goes on from the record and the reports") func newLeader() async throws {
        let site = try Site()
        try await site.fill()
        for number in 0..<5 { _ = try await site.report(number, .fetching, chunks: 50) }
        _ = try await site.report(2, .fetching, chunks: 50, failure: .broken, of: 1)
        site.core = FleetCore(settings: site.settings)
        for (number, node) in site.nodes.prefix(5).enumerated() {
            let facts = SessionFacts(bootID: "", softwareVersion: "", remoteAddress: "")
            let work = FleetWork.openSession(ConnectionID(UInt64(number)), node, facts)
            _ = site.core.handle(.finished(work, .success(.session(SessionEpoch(2)))), at: site.now)
        }
        let works = try await site.handle(.looked)
        #expect(!works.contains { if case .relink = $0 { true } else { false } })
        #expect(try await site.placement(2)?.upstream == site.nodes[0])
        _ = try await site.report(2, .fetching, chunks: 51)
        _ = try await site.report(3, .fetching, chunks: 51, failure: .lied, of: 2)
        #expect(try await site.placement(3)?.upstream == site.nodes[0])
    }

    @Test("a copy that is to go away keeps nobody waiting behind it") func removedCopy() async throws {
        let site = try Site()
        try await site.fill()
        for number in 0..<5 { _ = try await site.report(number, .fetching, chunks: 50) }
        let (image, node) = (site.image, site.nodes[2])
        try await site.store.write { sql in
            try sql.images.removePlacement(of: image, on: node)
            try sql.images.touch(image, on: node)
        }
        _ = site.core.handle(.committed([.assignments(node)]), at: site.now)
        _ = try await site.handle(.looked)
        #expect(try await site.placement(3)?.upstream == site.nodes[1])
    }
}
