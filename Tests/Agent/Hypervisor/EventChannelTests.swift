import ProtocolModel
import Testing

@testable import AgentHypervisor

@Suite("Events that come faster than they are read")
struct EventChannelTests {
    private func instances(_ count: Int) -> [InstanceID] {
        (0..<count).map { .generate(at: Timestamp(milliseconds: Int64($0))) }
    }

    private func read(_ count: Int, from channel: EventChannel) async -> [DomainEvent] {
        var iterator = channel.stream.makeAsyncIterator()
        var events: [DomainEvent] = []
        while events.count < count, let event = await iterator.next() { events.append(event) }
        return events
    }

    @Test("nothing is lost while there is room")
    func room() async {
        let ids = instances(8)
        let channel = EventChannel(capacity: 8)
        for id in ids { channel.send(.started(id)) }
        #expect(await read(8, from: channel) == ids.map { .started($0) })
    }

    @Test("what overflows is announced, whenever it overflows", arguments: [9, 10, 15, 16, 17, 100, 1000])
    func overflow(_ count: Int) async {
        let ids = instances(count)
        let channel = EventChannel(capacity: 8)
        for id in ids { channel.send(.started(id)) }
        #expect(await read(8, from: channel).contains(.connectionRestored))
    }
}
