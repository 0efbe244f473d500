import AgentUplink
import ServiceLifecycle

/// Keeps the session with the manager for as long as the daemon runs.
struct UplinkService: Service {
    let uplink: Uplink
    let link: ManagerLink

    func run() async throws {
        await cancelWhenGracefulShutdown { await link.run(uplink) }
    }
}
