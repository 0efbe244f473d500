import Foundation
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import SwiftProtobuf
import Testing

@testable import ManagerFleet
@testable import ManagerLifecycle

@Suite("Images of disks, as nodes are told of them and tell")
struct CaptureMessageTests {
    @Test("each set names all that are wanted of the node, also when it is none any more")
    func sets() async throws {
        let place = NSTemporaryDirectory() + "roost-capture-\(UUID()).sqlite"
        defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: place + end) } }
        let store = try Store(path: place)
        defer { store.close() }
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let node = Node(id: .generate(at: now), name: "cn1", certificateSerial: "1", joinedAt: now)
        let capture = ImageCapture(
            image: .generate(at: now), instance: .generate(at: now), node: node.id, requestedAt: now)
        @Sendable func set(_ sql: Transaction, since revision: Revision?) throws -> Roost_V1_AssignmentSet? {
            try AssignmentMessages(
                sql: sql, node: node.id, settings: LifecycleSettings(), managerChunkAddress: ":7403"
            ).set(since: revision)
        }
        try await store.write { sql in
            try sql.nodes.insert(node)
            #expect(try set(sql, since: nil)?.captures.captures.isEmpty == true)
            try sql.imageCaptures.insert(capture)
            let first = try #require(try set(sql, since: Revision(0)))
            #expect(first.captures.captures.map(\.imageID) == [capture.image.octets])
            #expect(first.captures.captures.map(\.instanceID) == [capture.instance.octets])
            try sql.imageCaptures.remove(capture)
            let second = try #require(try set(sql, since: Revision(first.revision)))
            #expect(second.hasCaptures && second.captures.captures.isEmpty)
        }
    }

    @Test("a set in parts names them in each, and each part fits")
    func parts() throws {
        var set = Roost_V1_AssignmentSet.with { $0.full = true }
        set.captures.captures = (0..<20).map { number in
            .with {
                $0.imageID = Data(repeating: UInt8(number), count: 16)
                $0.instanceID = Data(repeating: 1, count: 16)
            }
        }
        set.instances = (0..<30).map { number in
            .with {
                $0.instanceID = Data(repeating: UInt8(number), count: 16)
                $0.userData = Data(repeating: 0, count: 500)
            }
        }
        let parts = try set.parts(limit: 4000)
        #expect(parts.count > 1)
        for part in parts {
            #expect(part.captures == set.captures)
            let bytes: [UInt8] = try part.serializedBytes()
            #expect(bytes.count <= 4000)
        }
    }

    @Test("what makes no sense in a report is left out (P10)")
    func reports() {
        let image = Data(repeating: 3, count: 16)
        func read(_ body: (inout Roost_V1_CaptureStatus) -> Void) -> CaptureStatusValue? {
            var message = Roost_V1_CaptureStatus()
            message.imageID = image
            body(&message)
            return CaptureStatusValue(message)
        }
        #expect(
            read {
                $0.state = .copying; $0.percent = 4_000_000_000
            }?.state == .copying(percent: 100))
        #expect(
            read {
                $0.state = .failed; $0.reason = String(repeating: "x", count: 9000)
            }?.reason.count == 1000)
        #expect(
            read {
                $0.state = .ready; $0.manifestDigest = Data(repeating: 1, count: 32); $0.sizeBytes = 512
            } != nil)
        for broken in [
            read {
                $0.state = .ready; $0.sizeBytes = 512
            },
            read {
                $0.state = .ready; $0.manifestDigest = Data(repeating: 1, count: 32)
            },
            read {
                $0.state = .ready; $0.manifestDigest = Data(repeating: 1, count: 32); $0.sizeBytes = .max
            },
            read { $0.state = .unspecified }, read { $0.state = .UNRECOGNIZED(9) },
            read {
                $0.state = .failed; $0.imageID = Data([1])
            },
        ] { #expect(broken == nil) }
    }
}
