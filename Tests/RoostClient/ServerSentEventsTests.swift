import Testing

@testable import RoostClient

@Suite("Server-sent events")
struct ServerSentEventsTests {
    static let stream =
        ": hello\n\nid: 7\nevent: instance.created\ndata: {\"a\":1}\n\n:\n\r\nid: 8\r\ndata:x\r\ndata: y\r\n\r\ndata: z"
    static let events = [
        ServerSentEvents.Event(id: "7", data: "{\"a\":1}"),
        ServerSentEvents.Event(id: "8", data: "x\ny"),
    ]

    @Test("are the same however the bytes are cut")
    func cuts() throws {
        let bytes = Array(Self.stream.utf8)
        for cut in 0...bytes.count {
            var stream = ServerSentEvents()
            let found = try stream.feed(bytes[..<cut]) + stream.feed(bytes[cut...])
            #expect(found == Self.events)
            #expect(stream.lastID == "8")
        }
    }

    @Test("an ID counts once its block has ended, also where no event came with it")
    func identifiers() throws {
        var stream = ServerSentEvents()
        #expect(try stream.feed(Array("id: 3\n: hello\n\nid: 4\ndata: x\n".utf8)).isEmpty)
        #expect(stream.lastID == "3", "event 4 has not come whole")
        #expect(try stream.feed(Array("\n".utf8)) == [ServerSentEvents.Event(id: "4", data: "x")])
        #expect(stream.lastID == "4")
    }

    @Test("a line without an end is given up")
    func bound() {
        var stream = ServerSentEvents()
        #expect(throws: ClientError.self) {
            _ = try stream.feed(Array(repeating: UInt8(ascii: "x"), count: ServerSentEvents.maximumLine + 1))
        }
    }
}
