import Foundation
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf

/// Which processors, memory and huge pages of this host are near one another, as the kernel shows them.
struct HostTopologyReader: Sendable {
    let sysfsRoot: String

    /// `nil` where the kernel shows none that make sense: the manager then places nobody by it.
    func read() -> Roost_V1_HostTopology? {
        let online = processors("\(sysfsRoot)/devices/system/cpu/online")
        guard let online, !online.isEmpty else { return nil }
        let folder = "\(sysfsRoot)/devices/system/node"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        let numbers = names.compactMap { name in name.hasPrefix("node") ? UInt32(name.dropFirst(4)) : nil }.sorted()
        guard numbers.count <= 64 else { return nil }
        var topology = Roost_V1_HostTopology()
        for number in numbers {
            let path = "\(folder)/node\(number)"
            guard let own = processors(path + "/cpulist"), let memory = memory(path + "/meminfo") else { return nil }
            topology.cells.append(
                .with {
                    $0.number = number
                    $0.memoryBytes = memory
                    $0.cores = cores(of: own.intersection(online))
                    $0.pages = pages(path + "/hugepages")
                })
        }
        // Each processor is in one of them, or what was read is not the whole.
        let found = topology.cells.flatMap { $0.cores.flatMap(\.processors) }
        return found.count == online.count && Set(found.map(Int.init)) == Set(online.numbers) ? topology : nil
    }

    private func cores(of processors: ProcessorSet) -> [Roost_V1_HostCore] {
        var seen: Set<Int> = []
        return processors.numbers.compactMap { number in
            guard !seen.contains(number) else { return nil }
            let list = self.processors("\(sysfsRoot)/devices/system/cpu/cpu\(number)/topology/thread_siblings_list")
            let threads = (list ?? ProcessorSet([number])).intersection(processors).numbers.filter {
                !seen.contains($0)
            }
            let core = threads.contains(number) ? threads : [number]
            seen.formUnion(core)
            return .with { $0.processors = core.map(UInt32.init) }
        }
    }

    /// `hugepages-2048kB/nr_hugepages`.
    private func pages(_ folder: String) -> [Roost_V1_HugePages] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.compactMap { name in
            guard name.hasPrefix("hugepages-"), name.hasSuffix("kB"),
                let size = UInt64(name.dropFirst("hugepages-".count).dropLast(2)), size >= 1024, size <= 1 << 30,
                let total = line("\(folder)/\(name)/nr_hugepages").flatMap({ UInt64($0) }), total > 0
            else { return nil }
            return .with {
                $0.pageBytes = size << 10
                $0.total = min(total, 1 << 32)
            }
        }.sorted { $0.pageBytes < $1.pageBytes }
    }

    /// `Node 0 MemTotal:       65536 kB`.
    private func memory(_ path: String) -> UInt64? {
        for line in text(path)?.split(separator: "\n") ?? [] {
            let words = line.split(separator: " ")
            if words.count >= 4, words[2] == "MemTotal:", let amount = UInt64(words[3]), amount < 1 << 40 {
                return amount << 10
            }
        }
        return nil
    }

    private func processors(_ path: String) -> ProcessorSet? { line(path).flatMap { ProcessorSet($0) } }

    private func line(_ path: String) -> String? {
        text(path).map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }
    }

    private func text(_ path: String) -> String? {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8), text.utf8.count < 64 << 10 else {
            return nil
        }
        return text
    }
}
