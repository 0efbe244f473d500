import AgentDurability
import AgentLink
import AgentReconcile
import AgentUplink
import Foundation
import Logging
import ProtocolMessages
import ProtocolModel

/// Takes the host back, or gives it back, while no agent runs: the agent's own reconciler and sampler over its hypervisor,
/// without a manager. While it lives no agent starts.
struct StandIn {
    private let keeper: DepartureKeeper
    private let guests: any GuestHost
    private let reconcile: ReconcileService
    private let usage: UsageService
    private let devices: DeviceKeeper?
    private let names: [InstanceID: String]
    private let time: any TimeSource
    private let lock: FolderLock

    init(
        settings: AgentSettings, logger: Logger, time: any TimeSource = SystemTime(),
        makeParts: (_ node: NodeID, _ boot: BootID) throws -> HostParts
    ) throws {
        lock = try DataFolder.open(settings.data)
        self.time = time
        let identity = try IdentityFiles(data: settings.data).load()
        let boot = try HostBoot.current()
        let parts = try makeParts(identity.nodeID, boot)
        // The manager's wishes are left aside: all that runs is to end.
        var names: [InstanceID: String] = [:]
        if case .book(let book) = try AssignmentJournal(data: settings.data).load() {
            names = book.instances.mapValues(\.name)
        }
        self.names = names
        guests = parts.guests
        let ends = Router()
        var random = SystemRandomNumberGenerator()
        reconcile = ReconcileService(
            reconciler: Reconciler(seed: random.next()), host: parts.guests,
            probes: ReadinessProbes(ask: { _ in false }), time: time, logger: logger, report: { _, _ in },
            stopped: { ends.usage?.stopped($0) })
        devices = parts.keeper
        usage = try Agent.usage(settings, parts, boot, time, logger) {}
        ends.set(link: nil, usage: usage, captures: nil)
        let file = DepartureFile(data: settings.data)
        keeper = DepartureKeeper(
            try file.load(at: time.timestamp), file: file, reconcile: reconcile, link: nil, time: time, logger: logger)
    }

    /// Ends all guests; what they used is kept for the agent to send.
    func leave(reason: String?, deadline: Duration, show: @escaping @Sendable (ControlAnswer) -> Void) async {
        let endsAt = time.uptime + deadline
        let (departure, known, problem) = keeper.leave(reason: reason, deadline: deadline)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await reconcile.run() }
            group.addTask { try? await usage.run() }
            if let devices { group.addTask { try? await devices.run() } }
            var progress = DepartureProgress(endsAt: endsAt, guests: known, problem: problem?.description)
            while !Task.isCancelled {
                let answers = progress.look(named(keeper.sight(of: departure)), hasSession: false, at: time.uptime)
                answers.forEach(show)
                if answers.contains(where: \.isLast) { break }
                try? await Task.sleep(for: .milliseconds(100))
            }
            await forgetEnds()
            // The host is to have its devices back, too; what is not done by then is for the agent that comes next.
            while devices?.holdsAny == true, time.uptime < endsAt {
                try? await Task.sleep(for: .milliseconds(100))
            }
            group.cancelAll()
        }
        withExtendedLifetime(lock) {}
    }

    /// A domain that has shut down would tell the next agent that its owner turned it off, and would not start again.
    private func forgetEnds() async {
        guard let survey = try? await guests.survey() else { return }
        for (instance, domain) in survey.domains {
            if case .stopped = domain.state { _ = await guests.perform(.removeDomain(instance)) }
        }
    }

    private func named(_ sight: DepartureSight?) -> DepartureSight? {
        guard var sight else { return nil }
        for index in sight.remaining.indices {
            sight.remaining[index].name = names[sight.remaining[index].instance] ?? ""
        }
        return sight
    }

    /// Gives the host back to an agent that does not run.
    static func comeBack(data: String, time: any TimeSource = SystemTime()) throws -> Bool {
        let lock = try DataFolder.open(data)
        defer { withExtendedLifetime(lock) {} }
        let file = DepartureFile(data: data)
        guard try file.load(at: time.timestamp) != nil else { return false }
        try file.save(nil)
        return true
    }
}
