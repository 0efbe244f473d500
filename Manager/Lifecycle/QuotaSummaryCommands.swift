public import ManagerModel
import ManagerPlacement
import ManagerStore

extension Commands {
    /// Limits of all accounts beside the capacity of the nodes that take instances.
    public func quotaSummary() throws -> QuotaSummary {
        var capacity: [QuotaResource: Int] = [.vcpus: 0, .ramMiB: 0, .diskGiB: 0]
        let groups = try HostGroups(sql)
        for host in try sql.nodes.list().map({ groups.snapshot($0, []) }) where host.enabled {
            capacity[.vcpus, default: 0] += host.vcpus
            capacity[.ramMiB, default: 0] += host.ramMiB
            capacity[.diskGiB, default: 0] += host.diskGiB
        }
        let used = try sql.quotas.totalUse()
        let everyAccount = try sql.quotas.settings(of: .everyAccount)
        var rows = QuotaResource.allCases.map {
            QuotaSummary.Row(resource: $0, used: used[$0], capacity: capacity[$0])
        }
        let usedDevices = try sql.quotas.totalDevices()
        rows += try deviceNumbers().map {
            QuotaSummary.Row(
                resource: .gpus, alias: $0.alias, used: usedDevices[$0.alias] ?? 0, capacity: $0.free + $0.inUse)
        }
        for account in try sql.accounts.list(.everything) {
            let limits = try sql.quotas.settings(of: .account(account.name)).inEffect(over: everyAccount)
            for index in rows.indices {
                let item = rows[index].alias.map { QuotaItem.devices($0) } ?? .resource(rows[index].resource)
                if let limit = limits[item] {
                    rows[index].limitSum += limit
                } else {
                    rows[index].unlimitedAccounts += 1
                }
            }
        }
        return QuotaSummary(rows: rows)
    }
}
