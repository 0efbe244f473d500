import ManagerModel
import ManagerStore
import ProtocolModel

/// Limits of users and accounts.
extension Commands {
    /// Refuses what would break a limit of the user or of their account. To be called in the transaction that claims: counters
    /// change with the rows, and writes come one after another, so that no two requests pass on the same room.
    ///
    /// - Throws: `Refusal` `quota_exceeded`, with every limit in the way.
    func checkQuota(of owner: User, for claim: QuotaClaim) throws {
        guard
            let standing = try sql.quotas.standing(of: owner.id, account: owner.account, flavor: claim.flavor?.id)
        else { return }
        let shortfalls =
            claim.shortfalls(
                of: .user(owner.name, account: owner.account), used: standing.user.used, limits: standing.user.limits)
            + claim.shortfalls(
                of: .account(owner.account), used: standing.account.used, limits: standing.account.limits)
        guard shortfalls.isEmpty else { throw Refusal.quotaExceeded(shortfalls) }
    }
}
