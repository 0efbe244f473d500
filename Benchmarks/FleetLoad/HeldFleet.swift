import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import ProtocolModel
import ProtocolTrust
import ProtocolWire

/// Tens of thousands of agents in one process, for nodes that are in the record already: each has a certificate, an address
/// and a TLS session of its own, and the session machine of real agents (`ProtocolWire`); what differs is that all of them share
/// a few threads.
struct HeldFleet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hold",
        abstract: "Keeps a session for each node on standard input (ID, then its instances' IDs) until it is stopped.")

    @Option(name: .long, help: "The manager's host:port for agents.")
    var manager: String

    @Option(name: .long, help: "The folder with the site's authority; nodes' certificates are signed with it.")
    var site: String

    @Option(name: .long, help: "Threads.")
    var threads = 1

    @Option(name: .long, help: "Over how many seconds the first connections are spread.")
    var spread = 1.0

    @Option(
        name: .long,
        help:
            "Agents say what becomes of guests, which take up to so many milliseconds to shut down, on each host another time."
    )
    var shutdown: Int?

    func run() async throws {
        let parts = manager.split(separator: ":")
        guard parts.count == 2, let port = Int(parts[1]) else { throw ValidationError("--manager must be host:port") }
        let address = try SocketAddress(ipAddress: String(parts[0]), port: port)
        let authority = try SiteAuthority(
            keyPEM: try String(contentsOfFile: site + "/ca-key.pem", encoding: .utf8),
            certificatePEM: try String(contentsOfFile: site + "/ca.pem", encoding: .utf8))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        let loops = group.makeIterator().map { FleetLoop(loop: $0, manager: address, site: authority.site) }
        var count = 0
        // All share a key: who an agent is, its certificate says.
        let key = NodeKey()
        let request = try key.certificateRequest(name: "simulated")
        while let line = readLine() {
            let ids = line.split(separator: " ")
            guard let node = ids.first.flatMap({ NodeID($0) }) else { throw ValidationError("no node's ID: \(line)") }
            let certificate = try authority.signNode(requestDER: request, node: node, at: SystemTime().timestamp)
            let identity = HeldAgent.Identity(
                node: node, instances: ids.dropFirst().compactMap { InstanceID($0) }, certificate: certificate.der,
                keyPEM: key.pem, address: try SocketAddress(ipAddress: Self.address(count), port: 0),
                // From half of it to all, in no order.
                shutdown: shutdown.map { .milliseconds($0 / 2 + $0 * (count * 7919 % 1000) / 2000) })
            loops[count % loops.count].add(identity)
            count += 1
        }
        say("signed \(count)")
        for loop in loops { loop.start(spread: spread) }
        while true {
            try await Task.sleep(for: .milliseconds(250))
            var sum = FleetLoop.Counts()
            for loop in loops { sum += loop.counts }
            say(sum.line)
        }
    }

    /// An address of its own for each agent, as hosts have them: the manager bounds what one address may hold.
    private static func address(_ number: Int) -> String {
        "127.\(16 + number / 62_500).\(number / 250 % 250).\(1 + number % 250)"
    }

    /// At once, though the output is a file.
    private func say(_ line: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
    }
}
