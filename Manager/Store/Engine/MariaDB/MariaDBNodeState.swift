/// What a server says of itself, as far as it decides whether it can serve.
struct MariaDBNodeState {
    var host: MariaDBAddress.Host
    var isReadOnly: Bool
    var isGalera: Bool
    var isReady = true
    var hasQuorum = true
    /// Such as `Synced`, or `Joining: receiving State Transfer`.
    var stateComment = ""

    /// Asks with statements that a server answers in every state.
    init(of session: MariaDBSession) throws(StoreError) {
        host = session.host
        let facts =
            try session.command(
                "SELECT @@global.read_only AS read_only, @@global.wsrep_on AS wsrep_on, "
                    + "@@global.wsrep_provider AS provider"
            ).rows.first ?? [:]
        isReadOnly = facts["read_only"] == "1"
        isGalera = facts["wsrep_on"] == "1" && facts["provider"] != "none"
        guard isGalera else { return }
        var status: [String: String] = [:]
        for row in try session.command("SHOW GLOBAL STATUS LIKE 'wsrep_%'").rows {
            if let name = row["Variable_name"] { status[name] = row["Value"] ?? "" }
        }
        isReady = status["wsrep_ready"] == "ON"
        hasQuorum = status["wsrep_cluster_status"] == "Primary"
        stateComment = status["wsrep_local_state_comment"] ?? "unknown"
    }

    func outage(forWriting isWriting: Bool) -> StoreOutage? {
        if !isReady { return .notReady(host: host.description, state: stateComment, hasQuorum: hasQuorum) }
        return isWriting && isReadOnly ? .readOnly(host: host.description) : nil
    }
}
