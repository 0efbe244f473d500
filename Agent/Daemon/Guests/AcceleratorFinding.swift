import AgentDurability
import AgentHypervisor
import Foundation
import ProcessThreads
import ProtocolModel

/// How guests are run on this host, and why. Proving takes seconds where KVM hangs, so that what was found is kept for as
/// long as the host does not boot: an agent that restarts is back at once.
actor AcceleratorFinding {
    struct Found: Sendable, Equatable {
        var accelerator: DomainSpecification.Accelerator
        /// One sentence for the node's page.
        var reason: String
    }

    private let choice: AcceleratorChoice
    private let probe: AcceleratorProbe
    private let file: CheckedFile
    private let key: String
    private let thread: BlockingThreads
    private var finding: Task<Found, Never>?

    private struct Kept: Codable {
        var key: String
        var accelerator: String
        var reason: String
    }

    init(_ settings: AgentSettings, boot: BootID, thread: BlockingThreads) {
        choice = settings.accelerator
        probe = settings.emulator.map { AcceleratorProbe(emulator: $0) } ?? AcceleratorProbe()
        file = CheckedFile(path: settings.data + "/accelerator")
        key = "\(boot) \(settings.emulator ?? "")"
        self.thread = thread
    }

    func value() async -> Found {
        if let finding { return await finding.value }
        let task = Task { await self.find() }
        finding = task
        return await task.value
    }

    private func find() async -> Found {
        switch choice {
        case .kvm: return Found(accelerator: .kvm, reason: "chosen by hypervisor.accelerator")
        case .tcg: return Found(accelerator: .tcg, reason: "chosen by hypervisor.accelerator")
        case .auto: break
        }
        if let kept = await kept() { return kept }
        let proved = await probe.probe()
        let found = Found(accelerator: proved.accelerator, reason: proved.reason)
        await keep(found)
        return found
    }

    private func kept() async -> Found? {
        let loaded = try? await thread.run { [file] in try file.load() }
        guard case .content(let bytes) = loaded, let kept = try? JSONDecoder().decode(Kept.self, from: Data(bytes)),
            kept.key == key, let accelerator = DomainSpecification.Accelerator(rawValue: kept.accelerator)
        else { return nil }
        return Found(accelerator: accelerator, reason: kept.reason)
    }

    /// What cannot be kept is found again next time.
    private func keep(_ found: Found) async {
        let kept = Kept(key: key, accelerator: found.accelerator.rawValue, reason: found.reason)
        guard let bytes = try? JSONEncoder().encode(kept) else { return }
        try? await thread.run { [file] in try file.save(Array(bytes)) }
    }
}
