import ManagerStore
import SimulatorWorld

/// The record that all managers of a site have in common, as its engine offers it: a file of the only manager, or a database
/// that may be away, and in which one transaction at a time has the turn.
final class Record {
    /// How the engine behaves just now.
    struct Quality {
        var latency: ClosedRange<SimulatedTime> = .milliseconds(1)...(.milliseconds(4))
        /// What an answer takes on its way back.
        var answer: ClosedRange<SimulatedTime> = .milliseconds(1)...(.milliseconds(1))
        var isFull = false
        /// The share of transactions that have to be run again.
        var retry = 0.0
        /// No server answers anybody.
        var isAway = false
    }

    /// After which the server ends a transaction of a client that says nothing (`idle_transaction_timeout`).
    static let idleLimit = SimulatedTime.seconds(3)

    let store: SynchronousStore
    let isShared: Bool
    var quality = Quality()
    private let world: World
    /// A manager that stands still in the middle of a transaction.
    private var turn: (holder: Int, until: SimulatedTime)?

    init(world: World, isShared: Bool) throws {
        self.world = world
        self.isShared = isShared
        store = try SynchronousStore(at: World.epoch)
    }

    func isReachable(from host: ManagerHost) -> Bool { !quality.isAway && !host.isCutOff }

    /// The manager has begun a transaction, and says nothing more.
    func keepTurn(_ holder: Int) { turn = (holder, world.now + Self.idleLimit) }

    func giveTurn(_ holder: Int) { if turn?.holder == holder { turn = nil } }

    /// Whether another one's transaction is open.
    func isTaken(for manager: Int) -> Bool {
        guard let turn, turn.holder != manager else { return false }
        return world.now < turn.until
    }
}
