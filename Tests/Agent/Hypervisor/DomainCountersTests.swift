import Testing

@testable import AgentHypervisor

@Suite("Counters as libvirt lists them")
struct DomainCountersTests {
    @Test("a sum takes every member, and is none where one of them is silent (P4)")
    func sums() {
        let whole = ["block.count": 2, "block.0.rd.bytes": 5, "block.1.rd.bytes": 7] as [String: UInt64]
        #expect(DomainCounters(whole).sum("block", "rd.bytes") == 12)
        #expect(DomainCounters(whole.filter { $0.key != "block.1.rd.bytes" }).sum("block", "rd.bytes") == nil)
        #expect(DomainCounters(whole).sum("net", "rx.bytes") == nil)
        #expect(DomainCounters(["net.count": 0]).sum("net", "rx.bytes") == 0)
        #expect(DomainCounters(["net.count": .max]).sum("net", "rx.bytes") == nil)
    }
}
