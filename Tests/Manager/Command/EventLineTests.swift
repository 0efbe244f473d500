import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Events in lines")
struct EventLineTests {
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
