import RoostClient

/// Which nodes the names of a host list mean. Short names do where only one node has them (HLT-07).
struct HostResolution: Equatable {
    /// Full names, each once.
    var nodes: [String] = []
    /// Hosts that mean no node, and why; they do not stop the others (HLT-17).
    var unknown: [Unknown] = []

    struct Unknown: Equatable {
        var host: String
        var reason: String

        var line: String { "\(host): \(reason)" }
    }

    init(_ hosts: [String], among known: [(id: String, name: String)]) {
        var full: [String: String] = [:]
        var short: [String: [String]] = [:]
        for node in known {
            full[node.name.lowercased()] = node.name
            full[node.id.lowercased()] = node.name
            let label = node.name.prefix { $0 != "." }
            if label.count < node.name.count { short[label.lowercased(), default: []].append(node.name) }
        }
        var seen: Set<String> = []
        for host in hosts {
            let candidates = full[host.lowercased()].map { [$0] } ?? short[host.lowercased()] ?? []
            switch candidates.count {
            case 0: unknown.append(.init(host: host, reason: "there is no such node"))
            case 1: if seen.insert(candidates[0]).inserted { nodes.append(candidates[0]) }
            default:
                unknown.append(.init(host: host, reason: "could be any of \(candidates.joined(separator: ", "))"))
            }
        }
    }

    /// Expands a host list and asks the manager which nodes there are; shows what it means before anything is done.
    static func of(_ list: String, _ client: APIClient, _ printer: Printer) async throws -> HostResolution {
        let hosts = try HostList.expand(list)
        let known = try await client.list("/v1/nodes")["items"].items.compactMap { node in
            node["name"].text.flatMap { name in node["id"].text.map { (id: $0, name: name) } }
        }
        let resolution = HostResolution(hosts, among: known)
        if list.contains("[") || list.contains("@") {
            printer.note("\(hosts.count) host\(hosts.count == 1 ? "" : "s"): \(hosts.joined(separator: " "))")
        }
        return resolution
    }

    /// To be thrown when all else is done.
    var failures: [Failure] { unknown.map { Failure($0.line) } }
}
