import AgentDurability
import AgentManagers
import AgentUplink
import ArgumentParser
import ProtocolTrust

struct JoinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Joins a site with a token from 'roost node token create'.")

    @OptionGroup var options: SettingsOptions

    @Option(name: .long, help: "The manager's host:port for agents, such as manager.example.org:7401.")
    var manager: String

    @Option(name: .long, help: "The join token; '-' reads it from standard input.")
    var token: String

    @Option(name: .long, help: "The fingerprint of the site's authority: sha256: and 64 hexadecimal digits.")
    var caFingerprint: String

    @Option(name: .long, help: "The node's name in the fleet (default: the host name).")
    var name: String?

    @Flag(name: .long, help: "Join anew although this host has joined already.")
    var force = false

    func validate() throws {
        guard ManagerAddress(manager) != nil else {
            throw ValidationError("--manager is '\(manager)', but must be host:port, such as manager.example.org:7401")
        }
        guard CertificateFingerprint(caFingerprint) != nil else {
            throw ValidationError(
                "--ca-fingerprint must be sha256: and 64 hexadecimal digits, as 'roost node token create' prints it")
        }
    }

    func run() async throws {
        let settings = try options.read()
        guard let address = ManagerAddress(manager), let fingerprint = CertificateFingerprint(caFingerprint) else {
            return
        }
        do {
            let lock = try DataFolder.open(settings.data)
            defer { withExtendedLifetime(lock) {} }
            let files = IdentityFiles(data: settings.data)
            if try files.hasJoined(), !force { throw AgentProblem.alreadyJoined(folder: files.folder) }
            // A token in the process list can be read by everybody on the host, so that it may come another way.
            let secret = token == "-" ? (readLine(strippingNewline: true) ?? "") : token
            let identity = try await Enrolment.join(
                managerAddress: address, token: secret, caFingerprint: fingerprint,
                nodeName: name ?? settings.nodeName ?? HostFacts().hostName, softwareVersion: AgentVersion.current)
            try files.save(identity, manager: address)
            print("joined site \(identity.siteID) as node \(identity.nodeID); start the agent with 'roost-agent run'")
        } catch {
            throw CommandFailure(error)
        }
    }
}
