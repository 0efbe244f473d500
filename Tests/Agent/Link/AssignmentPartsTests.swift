import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@testable import AgentLink

@Suite("Parts of an assignment set")
struct AssignmentPartsTests {
    private func part(_ revision: UInt64, _ instances: [UInt8], more: Bool) -> Roost_V1_AssignmentSet {
        .with {
            $0.revision = revision
            $0.full = true
            $0.instances = instances.map { byte in .with { $0.instanceID = .init(repeating: byte, count: 16) } }
            $0.more = more
        }
    }

    @Test("a whole set passes; parts become one set with the last")
    func whole() throws {
        var parts = AssignmentParts()
        #expect(try parts.add(part(1, [1], more: false)) == part(1, [1], more: false))
        #expect(try parts.add(part(2, [1, 2], more: true)) == nil)
        #expect(try parts.add(part(2, [3], more: true)) == nil)
        #expect(try parts.add(part(2, [4], more: false)) == part(2, [1, 2, 3, 4], more: false))
        #expect(try parts.add(part(3, [5], more: false)) == part(3, [5], more: false))
    }

    @Test("a part of another set, and parts without end, are refused")
    func refused() throws {
        var parts = AssignmentParts()
        _ = try parts.add(part(1, [1], more: true))
        #expect(throws: AssignmentBook.Refusal.self) { try parts.add(part(2, [2], more: false)) }
        var endless = AssignmentParts()
        for _ in 0..<Limits.assignmentSetParts { _ = try endless.add(part(1, [1], more: true)) }
        #expect(throws: AssignmentBook.Refusal.self) { try endless.add(part(1, [1], more: true)) }
    }
}
