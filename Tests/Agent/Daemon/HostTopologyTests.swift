import Foundation
import ProtocolMessages
import SwiftProtobuf
import Testing

@testable import AgentDaemon

@Suite("Topology of hosts")
final class HostTopologyTests {
    private let root = NSTemporaryDirectory() + "roost-topology-\(UUID().uuidString)"

    deinit { try? FileManager.default.removeItem(atPath: root) }

    private func write(_ path: String, _ text: String) throws {
        let url = URL(filePath: root + "/devices/system/" + path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data((text + "\n").utf8).write(to: url)
    }

    private var read: Roost_V1_HostTopology? { HostTopologyReader(sysfsRoot: root).read() }

    @Test("nodes, cores with their threads, memory and huge pages are read as Linux shows them")
    func twoNodes() throws {
        #expect(read == nil)
        try write("cpu/online", "0-5,7")
        for (cpu, siblings) in [(0, "0,4"), (1, "1,5"), (2, "2,6"), (3, "3,7"), (4, "0,4"), (5, "1,5"), (7, "3,7")] {
            try write("cpu/cpu\(cpu)/topology/thread_siblings_list", siblings)
        }
        for (node, list) in [(0, "0-1,4-5"), (1, "2-3,6-7")] {
            try write("node/node\(node)/cpulist", list)
            try write("node/node\(node)/meminfo", "Node \(node) MemTotal:       65536 kB\nNode \(node) MemFree:  1 kB")
        }
        try write("node/node1/hugepages/hugepages-1048576kB/nr_hugepages", "0")
        try write("node/node1/hugepages/hugepages-2048kB/nr_hugepages", "8")
        let topology = try #require(read)
        #expect(topology.cells.map(\.number) == [0, 1])
        #expect(topology.cells.map(\.memoryBytes) == [64 << 20, 64 << 20])
        #expect(topology.cells[0].cores.map(\.processors) == [[0, 4], [1, 5]])
        // A thread that is switched off is none.
        #expect(topology.cells[1].cores.map(\.processors) == [[2], [3, 7]])
        #expect(topology.cells[0].pages.isEmpty)
        #expect(topology.cells[1].pages.map { [$0.pageBytes, $0.total] } == [[2 << 20, 8]])
    }

    @Test("what does not add up is not told")
    func nonsense() throws {
        try write("cpu/online", "0-3")
        try write("node/node0/cpulist", "0-1")
        try write("node/node0/meminfo", "Node 0 MemTotal:       65536 kB")
        #expect(read == nil)
        try write("node/node0/cpulist", "0-3")
        #expect(read?.cells.first?.cores.count == 4)
        try write("node/node0/meminfo", "Node 0 MemTotal:  much")
        #expect(read == nil)
    }
}
