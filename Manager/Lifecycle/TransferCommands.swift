public import ManagerModel
import ManagerStore
import ProtocolModel

/// How much may move for images: what the site and single nodes are set to, and what follows for each node.
extension Commands {
    public func siteTransfers() throws -> SiteTransfers { try sql.siteSettings.transfers() }

    /// Changes what the site says; each node hears of it.
    public func updateSiteTransfers(_ change: (inout SiteTransfers) -> Void) throws -> SiteTransfers {
        let before = try siteTransfers()
        var transfers = before
        change(&transfers)
        guard transfers != before else { return transfers }
        try sql.siteSettings.set(transfers)
        try event(
            "site.updated", ResourceReference(kind: "site", id: "", name: "site"), owner: nil,
            changes: Event.differences(from: before, to: transfers))
        if isBalanceDue(try nextShare(), try sql.siteSettings.receiveShare()) { try balanceTransfers() }
        for node in try sql.nodes.ids().sorted() { _ = try sql.nodes.nextAssignmentRevision(node) }
        return transfers
    }

    /// Whether the number of nodes that receive has changed so much that each must be told another share.
    public func isBalanceDue() throws -> Bool {
        isBalanceDue(try nextShare(), try sql.siteSettings.receiveShare())
    }

    /// Shares what all nodes together may receive among those that receive. To be called again and again.
    public func balanceTransfers() throws {
        guard let share = try nextShare(), isBalanceDue(share, try sql.siteSettings.receiveShare()) else { return }
        try sql.siteSettings.setReceiveShare(share)
        for node in try sql.images.receivers() { _ = try sql.nodes.nextAssignmentRevision(node) }
    }

    private func isBalanceDue(_ next: Int64?, _ current: Int64?) -> Bool {
        guard let next else { return false }
        guard let current else { return true }
        return abs(next - current) > current / 10
    }

    private func nextShare() throws -> Int64? {
        guard let total = try siteTransfers().totalBytesPerSecond else { return nil }
        return max(TransferLimits.lowestRate, total / Int64(max(1, try sql.images.receivers().count)))
    }
}
