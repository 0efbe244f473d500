import Foundation
import ProtocolModel
import Testing

@Suite("identifiers as bytes")
struct IdentifierBytesTests {
    @Test("the bytes of an identifier read back as it")
    func roundTrip() throws {
        let id = try #require(NodeID("0192f0c1-7a3b-7c4d-8e5f-001122334455"))
        #expect(Array(id.bytes).hexadecimal == "0192f0c17a3b7c4d8e5f001122334455")
        #expect(NodeID(bytes: id.bytes) == id)
        #expect(NodeID(bytes: id.bytes.dropLast()) == nil)
        #expect(NodeID(bytes: Data()) == nil)
    }
}
