import ProtocolModel
public import SimulatorSite
public import SimulatorWorld
import SimulatorChecker

/// One run: a site, its users, what goes wrong, and whether the promises held.
public struct Simulation: Sendable {
    public let seed: UInt64
    public let length: SimulatedTime
    public let planted: PlantedFault?
    /// Whether hosts have devices that guests can be given; a run without goes as it did before there were any.
    public let hasDevices: Bool

    /// What came of a run.
    public struct Outcome: Sendable {
        public let seed: UInt64
        public let violation: Violation?
        /// Equal for two runs that went the same way.
        public let traceHash: UInt64
        public let happenings: UInt64
        public let simulated: SimulatedTime
    }

    /// The share of a run after which nothing goes wrong any more.
    static let faultShare = 0.6

    public init(
        seed: UInt64, length: SimulatedTime = .minutes(10), planted: PlantedFault? = nil, hasDevices: Bool = false
    ) {
        self.hasDevices = hasDevices || planted?.isAboutDevices == true
        self.seed = seed
        self.length = length
        self.planted = planted
    }

    /// - Parameter print: is given the trace, line by line; `nil` where nobody reads it.
    public func run(print: ((String) -> Void)? = nil) -> Outcome {
        let world = World(seed: seed, trace: Trace(print: print))
        let random = world.random
        let source = SimulatedRandomness.Source { random.next() }
        defer { world.end() }
        return SimulatedRandomness.$source.withValue(source) { run(in: world) }
    }

    private func run(in world: World) -> Outcome {
        var violation: Violation?
        do {
            let managers = world.random.number(1...3)
            let isShared = managers > 1 || world.random.chance(0.5)
            let site = try Site(
                world: world, hosts: world.random.number(2...4), managers: managers, isShared: isShared,
                hasDevices: hasDevices, planted: planted)
            let checker = Checker(
                world: world, store: site.store, evidence: site.evidence, machines: site.machines,
                managers: { site.sights })
            let course = Course(site: site, watch: checker)
            course.start()
            let calm = SimulatedTime.seconds(length.seconds * Self.faultShare)
            world.after(calm) {
                course.calmDown()
                checker.becameCalm()
            }
            inspect(checker, world)
            world.run(until: length) { site.evidence.violation != nil }
            if site.evidence.violation == nil {
                checker.finish(
                    unacknowledged: { site.unacknowledgedBatches(of: $0) }, hasSession: { site.hasSession($0) })
            }
            violation = site.evidence.violation
            site.close()
        } catch {
            violation = Violation(promise: "P10", sentence: "the site cannot be built: \(error)", at: world.now)
        }
        return Outcome(
            seed: seed, violation: violation, traceHash: world.trace.hash, happenings: world.trace.count,
            simulated: world.now)
    }

    private func inspect(_ checker: Checker, _ world: World) {
        world.after(.seconds(3)) {
            checker.inspect()
            inspect(checker, world)
        }
    }
}
