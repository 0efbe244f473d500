import Testing

@testable import ManagerCommand

@Suite("Server-sent events")
struct ServerSentEventsTests {
    static let stream =
        ": hello\n\nid: 7\nevent: instance.created\ndata: {\"a\":1}\n\n:\n\r\nid: 8\r\ndata:x\r\ndata: y\r\n\r\ndata: z"
    static let events = [
        ServerSentEvents.Event(id: "7", kind: "instance.created", data: "{\"a\":1}"),
        ServerSentEvents.Event(id: "8", kind: "", data: "x\ny"),
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

    @Test("a line without an end is given up")
    func bound() {
        var stream = ServerSentEvents()
        #expect(throws: Failure.self) {
            _ = try stream.feed(Array(repeating: UInt8(ascii: "x"), count: ServerSentEvents.maximumLine + 1))
        }
    }

    @Test("follow lines of each format")
    func lines() throws {
        let event = try JSONReader.read(
            Array(
                #"{"sequence":7,"at":"2026-11-21T09:00:00.000Z","kind":"node.disabled","actor":"admin","resource":{"kind":"node","id":"1","name":"cn43"},"detail":"repair","changes":{"enabled":{"before":"true","after":"false"}}}"#
                    .utf8))
        #expect(
            EventCommand.line(event, TableTests.printer(.table))
                == "2026-11-21T09:00:00.000Z  node.disabled  node cn43: repair")
        #expect(
            EventCommand.line(event, TableTests.printer(.csv))
                == "7,2026-11-21T09:00:00.000Z,node.disabled,admin,cn43,repair,enabled: true → false")
        #expect(try JSONReader.read(Array(EventCommand.line(event, TableTests.printer(.json)).utf8)) == event)
    }
}
