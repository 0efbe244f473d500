import AgentDurability
import ArgumentParser
import Foundation
import Logging
import ProcessLog
import ProcessMemory
import ProtocolModel
import ServiceLifecycle
import UnixSignals

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "run", abstract: "Runs the agent until it is stopped.")

    /// By then the process is gone, whatever a hypervisor call is still waiting for. Nothing is lost with it: what was
    /// under way is found again by the next process.
    static let patience = Duration.milliseconds(4500)

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        keepMemorySmall()
        let settings = try options.read()
        bootstrapLogging(level: settings.logLevel)
        let logger = Logger(label: "roost-agent")
        for warning in settings.warnings { logger.warning("\(warning)") }
        do {
            let agent = try Agent(settings: settings, logger: logger) { node, boot, imagePath in
                try HostParts.open(settings, node: node, boot: boot, imagePath: imagePath, logger: logger)
            }
            // At debug the group would write each service out with all that it holds, keys included (SEC-14).
            var groupLogger = logger
            groupLogger.logLevel = max(.info, logger.logLevel)
            let group = ServiceGroup(
                configuration: ServiceGroupConfiguration(
                    services: agent.services + [ExitGuard(patience: Self.patience)],
                    gracefulShutdownSignals: [.sigterm, .sigint], logger: groupLogger))
            try await group.run()
            logger.info("agent stopped; guests run on")
        } catch {
            throw CommandFailure(error)
        }
    }
}

/// Ends the process when stopping takes too long.
private struct ExitGuard: Service {
    let patience: Duration

    func run() async throws {
        try? await gracefulShutdown()
        let seconds = Double(patience.milliseconds) / 1000
        DispatchQueue.global().asyncAfter(deadline: .now() + seconds) { exit(0) }
    }
}
