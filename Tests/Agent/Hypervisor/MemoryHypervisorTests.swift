import ProtocolModel
import Synchronization
import Testing

@testable import AgentHypervisor

@Suite("Domains in memory")
struct MemoryHypervisorTests {
    final class FakeTime: TimeSource {
        private let milliseconds = Mutex<Int64>(1_800_000_000_000)
        var timestamp: Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }
        var uptime: Uptime { Uptime(sinceStart: .milliseconds(milliseconds.withLock { $0 })) }
        func advance(_ seconds: Int64) { milliseconds.withLock { $0 += seconds * 1000 } }
    }

    @Test("they live as libvirt's do")
    func life() async throws {
        let hypervisor = MemoryHypervisor(time: FakeTime())
        let specification = DomainXMLTests.specification()
        let id = specification.instance
        var events = hypervisor.events.makeAsyncIterator()
        #expect(await events.next() == .connectionRestored)

        try await hypervisor.start(specification)
        #expect(await events.next() == .started(id))
        await #expect(throws: HypervisorError.domainRuns(id)) { try await hypervisor.start(specification) }
        #expect(try await hypervisor.domains().map(\.state) == [.running])
        #expect(try await hypervisor.domains().first?.startedAt == specification.startedAt)

        try await hypervisor.requestShutdown(id)
        #expect(await events.next() == .stopped(id, .guestShutdown))
        #expect(try await hypervisor.domains().map(\.state) == [.shutOff(.guestShutdown)])
        try await hypervisor.powerOff(id)
        #expect(try await hypervisor.domains().map(\.state) == [.shutOff(.guestShutdown)])

        try await hypervisor.start(specification)
        #expect(await events.next() == .started(id))
        try await hypervisor.remove(id)
        #expect(await events.next() == .stopped(id, .destroyed))
        try await hypervisor.remove(id)
        try await hypervisor.powerOff(id)
        #expect(try await hypervisor.domains().isEmpty)
        await #expect(throws: HypervisorError.noSuchDomain(id)) { try await hypervisor.requestShutdown(id) }
    }

    @Test("counters grow with the time that is given, and with nothing else")
    func counters() async throws {
        let time = FakeTime()
        let hypervisor = MemoryHypervisor(time: time)
        let specification = DomainXMLTests.specification { $0.startedAt = time.timestamp }
        try await hypervisor.start(specification)
        #expect(try await hypervisor.statistics().map(\.cpuTimeNanoseconds) == [0])
        time.advance(10)
        #expect(try await hypervisor.statistics().map(\.cpuTimeNanoseconds) == [1_000_000_000])
        try await hypervisor.powerOff(specification.instance)
        #expect(try await hypervisor.statistics().isEmpty)
    }
}
