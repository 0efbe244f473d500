import AgentReconcile
import Logging
import ProtocolModel

extension Notice {
    /// One line for a person.
    func log(to logger: Logger) {
        switch self {
        case .olderEpochIgnored(let id, let offered, let known):
            logger.warning(
                "an assignment of an older placement was ignored",
                metadata: ["instance": "\(id)", "epoch": "\(offered)", "known_epoch": "\(known)"])
        case .strayDomain(let id, let epoch):
            logger.warning(
                "a domain that is not assigned to this host is removed; its disk is kept",
                metadata: ["instance": "\(id)", "epoch": "\(epoch)"])
        case .strayDisk(let id):
            logger.warning(
                "a disk of an instance that is not assigned to this host is kept; remove it by hand if nobody needs it",
                metadata: ["instance": "\(id)"])
        case .outdatedDomain(let id, let running, let assigned):
            logger.warning(
                "the domain of an older placement gives way to the new one",
                metadata: ["instance": "\(id)", "epoch": "\(assigned)", "running_epoch": "\(running)"])
        case .guestStopped(let id, let cause):
            logger.notice(
                "a guest stopped by itself", metadata: ["instance": "\(id)", "cause": "\(cause.rawValue)"])
        case .crashLoop(let id, let crashes, let wait):
            logger.warning(
                "a guest keeps crashing",
                metadata: ["instance": "\(id)", "crashes": "\(crashes)", "next_start_in": "\(wait)"])
        case .bootTimedOut(let id, let limit):
            logger.warning(
                "a guest did not answer in time after its start; it is left running",
                metadata: ["instance": "\(id)", "timeout": "\(limit)"])
        case .forcedOff(let id, let after):
            logger.notice(
                "a guest did not shut down in time and is forced off",
                metadata: ["instance": "\(id)", "after": "\(after)"])
        case .actionFailed(let id, let failure, let wait):
            logger.warning(
                "an action failed and is tried again",
                metadata: [
                    "instance": "\(id)", "code": "\(failure.code)", "error": "\(failure.sentence)",
                    "next_try_in": "\(wait)",
                ])
        case .surveyFailed(let failure, let wait):
            logger.error(
                "the hypervisor cannot be surveyed; no guest is touched until it can",
                metadata: ["code": "\(failure.code)", "error": "\(failure.sentence)", "next_try_in": "\(wait)"])
        }
    }
}
