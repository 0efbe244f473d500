public import ManagerModel
public import ProtocolModel

/// How a node is to be emptied.
public struct DrainOrder: Sendable, Equatable {
    public var mode: DrainMode
    /// With `wait`: how long guests may go on before they are asked to shut down.
    public var waitSeconds: Int
    /// How long guests may take to shut down.
    public var vmTimeoutSeconds: Int
    /// Force off what still runs then; otherwise the node ends as failed and its guests run on.
    public var forceShutoff: Bool
    public var reason: String
    /// Nodes that are emptied at a time; all of them take no more instances at once.
    public var parallel: Int
    /// When the nodes are to be in service again.
    public var until: Timestamp?
    /// Asked for by the nodes' windows, or by a host's own operator, not by a person of the site: nothing is to be lifted later.
    public var isScheduled: Bool

    public static let usualWaitSeconds = 86_400

    public init(
        mode: DrainMode = .stop, waitSeconds: Int = usualWaitSeconds, vmTimeoutSeconds: Int = 300,
        forceShutoff: Bool = false, reason: String = "", parallel: Int = .max, until: Timestamp? = nil,
        isScheduled: Bool = false
    ) {
        self.mode = mode
        self.waitSeconds = waitSeconds
        self.vmTimeoutSeconds = vmTimeoutSeconds
        self.forceShutoff = forceShutoff
        self.reason = reason
        self.parallel = max(1, parallel)
        self.until = until
        self.isScheduled = isScheduled
    }

    /// When guests are asked to shut down, from when the node's turn came.
    var asksAfterSeconds: Int { mode == .wait ? waitSeconds : 0 }

    var forces: Bool { forceShutoff || mode == .shutdown }

    var parameters: [String: String] {
        var parameters = [
            "mode": mode.rawValue, "vm_timeout_seconds": "\(vmTimeoutSeconds)",
            "force_shutoff": forceShutoff ? "true" : "false", "reason": reason,
        ]
        if mode == .wait { parameters["wait_seconds"] = "\(waitSeconds)" }
        if parallel < .max { parameters["parallel"] = "\(parallel)" }
        if isScheduled { parameters["scheduled"] = "true" }
        return parameters
    }

    init(parameters: [String: String]) {
        func number(_ key: String) -> Int? { parameters[key].flatMap { Int($0) } }
        self.init(
            mode: parameters["mode"].flatMap { DrainMode(rawValue: $0) } ?? .stop,
            waitSeconds: number("wait_seconds") ?? Self.usualWaitSeconds,
            vmTimeoutSeconds: number("vm_timeout_seconds") ?? 300, forceShutoff: parameters["force_shutoff"] == "true",
            reason: parameters["reason"] ?? "", parallel: number("parallel") ?? .max,
            isScheduled: parameters["scheduled"] == "true")
    }
}
