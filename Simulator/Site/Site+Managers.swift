import ManagerFleet
import ManagerLeadership
import ProtocolModel
public import SimulatorWorld

/// Managers begin, end, stand still, and come back.
extension Site {
    func start(_ host: ManagerHost) {
        guard host.process == nil else { return }
        var settings = FleetCore.Settings(chunkAddress: ":7403", lifecycle: lifecycle, softwareVersion: "0.0")
        settings.heartbeatInterval = .seconds(5)
        let manager = SimulatedManager(
            host: host, world: world, record: record, evidence: evidence, settings: settings, planted: planted)
        host.process = manager
        manager.start()
    }

    /// Ends a manager's process and starts another after a while.
    func restart(_ host: ManagerHost, gracefully: Bool, after delay: SimulatedTime) {
        guard let process = host.process else { return }
        if gracefully, !process.isStopped {
            process.shutDown { self.world.after(delay) { self.start(host) } }
        } else {
            process.kill()
            world.after(delay) { self.start(host) }
        }
    }

    func manager(at address: String) -> ManagerHost? {
        managers.first { address.hasPrefix($0.name) }
    }

    /// The one that leads, more often than not; otherwise any.
    var victim: ManagerHost {
        let leader = managers.first { $0.process?.leadership.term != nil }
        if let leader, world.random.chance(0.6) { return leader }
        return world.random.pick(managers) ?? managers[0]
    }

    /// What can be seen of the managers whose process runs: for those who check.
    public var sights: [ManagerSight] { managers.compactMap { $0.process?.sight } }
}
