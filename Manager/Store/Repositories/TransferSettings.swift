public import ManagerModel
public import ProtocolModel

/// What the site says of image transfers, and what follows from it just now.
extension SiteSettingRepository {
    public func transfers() throws -> SiteTransfers {
        try value("transfers").map { try decoded($0) } ?? SiteTransfers()
    }

    public func set(_ transfers: SiteTransfers) throws { try set("transfers", jsonText(transfers)) }

    /// Of what all nodes together may receive, what each that receives may; `nil`: nobody has counted them yet.
    public func receiveShare() throws -> Int64? { try value("transfers.share").flatMap { Int64($0) } }

    public func setReceiveShare(_ bytesPerSecond: Int64) throws {
        try set("transfers.share", "\(bytesPerSecond)")
    }
}

extension ImageRepository {
    /// The nodes to which something is on its way.
    public func receivers() throws -> [NodeID] {
        try sql.query(
            """
            SELECT DISTINCT p.node_id AS node_id FROM image_placements p JOIN nodes n ON n.id = p.node_id
            WHERE p.state = 'fetching' AND p.paused = 0 AND n.enabled = 1 AND n.liveness = 'alive' ORDER BY p.node_id
            """
        ).map { try $0.id("node_id") }
    }
}
