public import SimulatorWorld

/// The course of a run: people want things and things go wrong, and later neither does.
public final class Course {
    private let clients: Clients
    private let faults: FaultSchedule
    private let owners: HostOwners
    private let losses: HostLosses

    public init(site: Site, watch: (any SiteWatch)?) {
        clients = Clients(site: site, watch: watch)
        faults = FaultSchedule(site: site, clients: clients)
        owners = HostOwners(site: site)
        losses = HostLosses(site: site)
    }

    public func start() {
        clients.start()
        faults.start()
        owners.start()
        losses.start()
    }

    /// From now on nothing new is wanted and nothing goes wrong, so that everything must come to its end.
    public func calmDown() {
        clients.stop()
        faults.stop()
        owners.stop()
        losses.stop()
    }
}
