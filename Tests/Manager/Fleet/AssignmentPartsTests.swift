import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@testable import ManagerFleet

@Suite("Assignment sets in parts")
struct AssignmentSetPartsTests {
    private static let set = Roost_V1_AssignmentSet.with {
        $0.revision = 9
        $0.baseRevision = 7
        $0.instances = (0..<200).map { number in
            .with {
                $0.instanceID = .init(repeating: UInt8(number), count: 16)
                $0.userData = .init(repeating: UInt8(number), count: number % 3 == 0 ? Limits.userDataBytes : 100)
            }
        }
        $0.images = [.with { $0.imageID = .init(repeating: 1, count: 16) }]
        $0.removedInstances = (0..<50).map { .init(repeating: $0, count: 16) }
        $0.removedImages = [.init(repeating: 2, count: 16)]
    }

    @Test("each fits its frame, and together they are the set", arguments: [Limits.framePayloadBytes, 70_000])
    func fit(_ limit: Int) throws {
        let parts = try Self.set.parts(limit: limit)
        #expect(parts.count > 1)
        for part in parts {
            let bytes: [UInt8] = try part.serializedBytes()
            #expect(bytes.count <= limit)
            #expect((part.revision, part.baseRevision, part.full) == (9, 7, false))
        }
        #expect(parts.map(\.more) == Array(repeating: true, count: parts.count - 1) + [false])
        #expect(parts.flatMap(\.instances) == Self.set.instances)
        #expect(parts.flatMap(\.images) == Self.set.images)
        #expect(parts.flatMap(\.removedInstances) == Self.set.removedInstances)
        #expect(parts.flatMap(\.removedImages) == Self.set.removedImages)
    }

    @Test("a set that fits is one message")
    func single() throws {
        let small = Roost_V1_AssignmentSet.with { $0.revision = 1 }
        #expect(try small.parts() == [small])
    }
}
