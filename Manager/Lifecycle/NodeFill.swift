import ManagerModel
import ManagerStore
import ProtocolModel

/// What filled the nodes, or would.
public struct FillResult: Sendable, Equatable {
    public var count: Int
    /// Why it went no further: `no_capacity`, `quota_exceeded`, or `limit`.
    public var stoppedBy: String
    public var detail: String
}

extension Commands {
    /// Starts as many instances as fit on the enabled nodes, up to a limit: each is placed and claimed as if it had been asked
    /// for alone, and the first that does not fit ends it, so that none is left in ERROR (HLT-27).
    ///
    /// - Parameter creation: one of them; its name gets a number.
    public func fillNodes(_ creation: InstanceCreation, limit: Int, isDryRun: Bool) throws -> FillResult {
        var result = FillResult(count: 0, stoppedBy: "limit", detail: "the limit of this request was reached")
        while result.count < limit {
            var one = creation
            one.count = 1
            one.name = "\(creation.name)-\(result.count + 1)"
            do {
                _ = try createInstances(one)
                result.count += 1
            } catch let refusal as Refusal where [.noCapacity, .quotaExceeded].contains(refusal.code) {
                result.stoppedBy = refusal.code.rawValue
                result.detail = refusal.sentence
                break
            }
        }
        // What was tried is undone with the transaction.
        if isDryRun { throw FillDryRun(result: result) }
        return result
    }
}

/// How many would have been started: thrown, so that nothing is.
public struct FillDryRun: Error, Sendable {
    public var result: FillResult
}
