import ManagerModel
import ManagerStore
public import ProtocolModel

extension FleetReports {
    /// Brings a prefill's hosts up to date and ends it when each is done.
    public func settlePrefill(_ id: OperationID) throws {
        guard var operation = try sql.operations.find(id), operation.status == .running,
            let image = ImageID(operation.resource.id)
        else { return }
        let before = operation
        for (index, host) in operation.hosts.enumerated() {
            operation.hosts[index] = try standing(of: host, image, in: id)
        }
        let total = operation.hosts.map(\.progress).reduce(0, +)
        operation.progress = operation.hosts.isEmpty ? 100 : total / operation.hosts.count
        if operation.hosts.allSatisfy(\.isSettled) {
            let failed = operation.hosts.filter { $0.state == "failed" }
            operation.finish(
                errorCode: failed.isEmpty ? nil : "prefill_incomplete",
                detail: failed.isEmpty ? nil : failed.map { "\($0.node): \($0.detail)" }.joined(separator: "; "),
                at: now)
        }
        if operation != before { try commands.save(operation) }
    }

    private func standing(
        of host: Operation.HostResult, _ image: ImageID, in operation: OperationID
    ) throws -> Operation.HostResult {
        guard let node = try sql.nodes.find(name: host.node) else { return Self.lost(host, "the node was removed") }
        if host.state == "waiting" { return host }
        // What a later prefill, or a node that came back under this name, makes of it is not told here any more.
        guard let placement = try sql.images.placement(of: image, on: node.id) else {
            return Self.lost(host, "the node, or its copy, was removed")
        }
        guard placement.operation == operation else { return Self.lost(host, "another prefill took it over") }
        if host.state == "held", placement.state == .held { return host }
        var result = try Commands.hostResult(of: placement, on: node, sql: sql)
        result.rate = Self.rate(of: result, after: host)
        guard placement.state == .fetching else { return result }
        if !node.enabled {
            result.state = "failed"
            result.detail = "the node is disabled; it gets the image when it is enabled"
        } else if node.liveness == .down {
            result.state = "failed"
            result.detail = "the node is down; it fetches the image when it comes back"
        } else if placement.isPaused {
            result.state = "paused"
            result.rate = nil
        }
        return result
    }

    private static func lost(_ host: Operation.HostResult, _ sentence: String) -> Operation.HostResult {
        guard !host.isSettled else { return host }
        var host = host
        host.state = "failed"
        host.detail = sentence
        return host
    }

    /// Bytes a second between two reports; over the whole time once it is done.
    static func rate(of host: Operation.HostResult, after before: Operation.HostResult) -> Double? {
        guard let bytes = host.bytes, let seconds = host.seconds else { return nil }
        if host.state == "held" { return seconds > 0 ? Double(bytes) / seconds : nil }
        let (since, elapsed) = (before.bytes ?? 0, seconds - (before.seconds ?? 0))
        // Reports that come together say nothing of speed.
        guard elapsed >= 0.2, bytes >= since else { return before.rate }
        return Double(bytes - since) / elapsed
    }
}
