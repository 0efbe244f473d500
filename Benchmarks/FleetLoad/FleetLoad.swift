import AgentManagers
import AgentUplink
import ArgumentParser
import Foundation
import ProtocolTrust

/// Simulated agents for benchmarks.
@main
struct FleetLoad: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "roost-fleet-load", abstract: "Keeps the sessions of many simulated agents.",
        subcommands: [JoinedFleet.self, HeldFleet.self])
}

/// Each agent joins with a token of its own and then keeps a session as a real agent does, with the agents' own client code,
/// over TLS 1.3 with its own certificate.
struct JoinedFleet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join",
        abstract: "Joins a simulated agent for each token on standard input and keeps its session until it is stopped.")

    @Option(name: .long, help: "The manager's host:port for agents.")
    var manager: String

    @Option(name: .long, help: "The fingerprint of the site's authority.")
    var caFingerprint: String

    @Option(name: .long, help: "Agents that join at once; the manager bounds those of one address.")
    var atOnce = 8

    func run() async throws {
        guard let address = ManagerAddress(manager) else { throw ValidationError("--manager must be host:port") }
        guard let fingerprint = CertificateFingerprint(caFingerprint) else {
            throw ValidationError("--ca-fingerprint must be sha256: and 64 hexadecimal digits")
        }
        var tokens: [String] = []
        while let line = readLine() { tokens.append(line) }
        let identities = try await join(tokens, address, fingerprint)
        say("joined \(identities.count)")
        let tally = Tally()
        try await withThrowingDiscardingTaskGroup { group in
            for (number, identity) in identities.enumerated() {
                let agent = try SimulatedAgent(number: number, manager: address, identity: identity, tally: tally)
                group.addTask { await agent.run() }
            }
            group.addTask {
                while true {
                    try await Task.sleep(for: .seconds(1))
                    say(tally.line)
                }
            }
        }
    }

    private func join(
        _ tokens: [String], _ address: ManagerAddress, _ fingerprint: CertificateFingerprint
    ) async throws -> [EnrolledIdentity] {
        try await withThrowingTaskGroup(of: EnrolledIdentity.self) { group in
            var waiting = Array(tokens.enumerated())[...]
            func joinNext() {
                guard let (number, token) = waiting.popFirst() else { return }
                group.addTask {
                    try await Enrolment.join(
                        managerAddress: address, token: token, caFingerprint: fingerprint,
                        nodeName: SimulatedAgent.name(number), softwareVersion: SimulatedAgent.version)
                }
            }
            for _ in 0..<max(1, atOnce) { joinNext() }
            var identities: [EnrolledIdentity] = []
            for try await identity in group {
                identities.append(identity)
                joinNext()
            }
            return identities
        }
    }

    /// At once, though the output is a file.
    private func say(_ line: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
    }
}
