import AgentDurability
import AgentLink
import AgentReconcile
import Logging
import ProtocolModel
import Synchronization

/// Takes the host back for its own operator and gives it back: first on the disk, then to guests and manager.
final class DepartureKeeper: Sendable {
    private let current: Mutex<Departure?>
    private let file: DepartureFile
    private let reconcile: ReconcileService
    /// `nil` where no session is kept.
    private let link: ManagerLink?
    private let time: any TimeSource
    private let logger: Logger

    /// - Parameter departure: as it was kept.
    init(
        _ departure: Departure?, file: DepartureFile, reconcile: ReconcileService, link: ManagerLink?,
        time: any TimeSource, logger: Logger
    ) {
        current = Mutex(departure)
        self.file = file
        self.reconcile = reconcile
        self.link = link
        self.time = time
        self.logger = logger
    }

    /// Where the host is taken back, guests are to know before they hear what is wanted of them.
    func begin() {
        guard let departure = current.withLock({ $0 }) else { return }
        logger.notice(
            "the host's own operator has taken it back: no guest is started before 'roost-agent return'",
            metadata: ["reason": "\(departure.reason)", "since": "\(departure.since)"])
        reconcile.post(.departed(departure))
    }

    /// How far the host is since its last departure; `nil` where that is not known yet, or it was given back.
    func sight(of departure: Departure) -> DepartureSight? {
        reconcile.figures.departure.flatMap { $0.departure == departure ? $0 : nil }
    }

    /// What holds now instead of a departure, in a sentence; `nil`: it holds.
    func overtaking(_ departure: Departure) -> String? {
        current.withLock { current in
            if current == departure { return nil }
            return current == nil
                ? "the host was given back meanwhile by 'roost-agent return'"
                : "the host was taken back once more meanwhile, and the later deadline holds"
        }
    }

    var hasSession: Bool { link?.hasSession ?? false }

    /// Takes the host back. Said again, the last deadline holds. Blocks for the disk.
    ///
    /// - Parameter reason: `nil`: as said before.
    /// - Returns: `guests`: those that ran until now; `problem`: why that was not kept: guests are stopped, but a restart of
    ///   the agent would forget.
    func leave(
        reason: String?, deadline: Duration
    ) -> (departure: Departure, guests: [RemainingGuest], problem: FileProblem?) {
        current.withLock { current in
            let guests = reconcile.figures.guests
            let departure = Departure(
                reason: reason ?? current?.reason ?? "", since: time.timestamp, deadline: deadline)
            current = departure
            // That the disk is full is no reason to keep the host.
            var problem: FileProblem?
            do throws(FileProblem) { try file.save(departure) } catch { problem = error }
            logger.notice(
                "the host's own operator takes it back",
                metadata: [
                    "reason": "\(departure.reason)", "deadline": "\(deadline)",
                    "kept": "\(problem.map(\.description) ?? "yes")",
                ])
            reconcile.post(.departed(departure))
            link?.departed(departure)
            return (departure, guests, problem)
        }
    }

    /// Gives the host back. Blocks for the disk.
    ///
    /// - Returns: false where it had not been taken back.
    func comeBack() throws(FileProblem) -> Bool {
        try current.withLock { current throws(FileProblem) in
            guard current != nil else { return false }
            try file.save(nil)
            current = nil
            logger.notice("the host's own operator gives it back")
            reconcile.post(.returned)
            link?.departed(nil)
            return true
        }
    }
}
