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

@Suite("identifiers as text")
struct IdentifierTextTests {
    @Test("text and order are those of Foundation's UUID in lower case")
    func agreesWithFoundation() {
        let ids = (0..<500).map { _ in NodeID(UUID()) }
        for id in ids {
            #expect(id.description == id.uuid.uuidString.lowercased())
            #expect(NodeID(id.description) == id)
            #expect(NodeID(id.uuid.uuidString) == id)
        }
        #expect(ids.sorted() == ids.sorted { $0.description < $1.description })
    }

    @Test(
        "anything but the canonical form is refused",
        arguments: [
            "", "0192f0c1-7a3b-7c4d-8e5f-00112233445", "0192f0c1-7a3b-7c4d-8e5f-0011223344555",
            "0192f0c17a3b7c4d8e5f001122334455", "0192f0c1-7a3b-7c4d-8e5f-00112233445g",
            "0192f0c1_7a3b-7c4d-8e5f-001122334455", "0192f0c-17a3b-7c4d-8e5f-001122334455",
            "{0192f0c1-7a3b-7c4d-8e5f-00112233445}", "0192f0c1-7a3b-7c4d-8e5f-0011223344５５",
            "0192f0c1-7a3b-7c4d-8e5f-0011223344-5",
        ])
    func refuses(text: String) {
        #expect(NodeID(text) == nil)
    }
}
