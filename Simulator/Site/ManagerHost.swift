import ManagerModel
import ProtocolModel
import SimulatorWorld

/// What of a manager outlives its process: who it is, its host's clocks, and its way to the record.
final class ManagerHost {
    let index: Int
    let id: ManagerID
    let name: String
    /// The process that runs here; `nil` while none does.
    var process: SimulatedManager?
    /// Nothing of what is said between this host and the record arrives.
    var isCutOff = false
    /// What the record answers does not arrive, until it does again.
    var isDeaf = false
    /// How far the wall clock is off.
    var clockError: SimulatedTime
    private let world: World
    private var since: (world: SimulatedTime, uptime: Duration)
    private var rate: Double

    /// A leader stops a quarter of the lease before others take over, so that their clocks may differ by less than that.
    static let rates = 0.9...1.1

    /// - Parameter isExact: whether its clocks show the true time.
    init(index: Int, world: World, isExact: Bool) {
        let random = world.random
        self.index = index
        self.world = world
        name = "manager\(index)"
        var generator = random
        id = .generate(at: World.epoch, using: &generator)
        clockError =
            isExact ? .zero : random.time(SimulatedTime.zero - .seconds(3)...(.seconds(3)))
        since = (.zero, .seconds(5000 + random.below(1_000_000)))
        rate = 1
        if !isExact { skew() }
    }

    var place: Place { .manager(index) }
    var agentAddress: String { "\(name):7401" }
    var chunkAddress: String { "\(name):7403" }

    /// As the host's own clocks show it.
    var now: Moment {
        let passed = Double((world.now - since.world).microseconds) * rate
        return Moment(
            timestamp: world.timestamp + clockError.duration,
            uptime: Uptime(sinceStart: since.uptime + .microseconds(Int64(passed))))
    }

    /// From now on the clock runs at another speed.
    func skew() {
        since = (world.now, now.uptime.sinceStart)
        let share = Double(world.random.below(10_001)) / 10_000
        rate = Self.rates.lowerBound + (Self.rates.upperBound - Self.rates.lowerBound) * share
    }

    func record(startedAt: Timestamp) -> ManagerRecord {
        ManagerRecord(
            id: id, name: name, apiAddress: "\(name):7400", agentAddress: agentAddress, chunkAddress: chunkAddress,
            version: "0.0", startedAt: startedAt)
    }
}
