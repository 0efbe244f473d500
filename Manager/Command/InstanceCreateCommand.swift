import ArgumentParser
import Foundation
import RoostClient

extension InstanceCommand {
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Creates instances.")

        /// What cloud-init takes and libvirt's seed disk holds comfortably; the API's body has a limit too.
        static let maximumUserData = 512 << 10

        @Argument(help: "The name; several are named NAME-1 to NAME-N.") var name: String
        @Option(name: .long, help: "The size, by name or ID.") var flavor: String
        @Option(name: .long, help: "The image, by name or ID.") var image: String
        @Option(name: .long, help: "The key pair that may sign in.") var key: String?
        @Option(name: .long, help: "How many: all are made, or none.") var count = 1
        @Option(
            name: .long, help: ArgumentHelp("For cloud-init, such as a script or #cloud-config.", valueName: "file"))
        var userData: String?
        @Option(name: .long, help: ArgumentHelp("For the guest; may be given several times.", valueName: "key=value"))
        var metadata: [String] = []
        @Option(name: .long, help: "Place it on this node (superusers).") var node: String?
        @Option(
            name: .long,
            help: ArgumentHelp("Not on this node; may be given several times (superusers).", valueName: "node"))
        var excludeNode: [String] = []
        @Option(name: .long, help: "Only on nodes of this availability zone.") var zone: String?
        @Option(
            name: .long,
            help: ArgumentHelp("Beside, or away from, the others of this server group.", valueName: "group"))
        var serverGroup: String?
        @Option(name: .long, help: "What the guest calls itself; its name if left out.") var hostName: String?
        @Option(
            name: .long,
            help: ArgumentHelp(
                "keep or restart: when its host vanishes it waits for it, or, once that is certain to be off, is started anew "
                    + "elsewhere from its image, and what was written to its disk is lost.", valueName: "policy"))
        var onHostLoss: HostLossChoice?
        @Flag(name: .long, help: "Where there is no room now, let it wait, rather than being refused.") var queue =
            false
        @Option(
            name: .long,
            help: ArgumentHelp(
                "Where it stands among those that wait: -100 to 100, above 0 for superusers.", valueName: "number"))
        var priority: Int?
        @Flag(
            name: .long, help: "It yields its room to instances that are not preemptible, after a notice to its guest.")
        var preemptible = false
        @Option(
            name: .long,
            help: ArgumentHelp(
                "With --preemptible, what becomes of it then: queue (it waits and starts again) or stop.",
                valueName: "what"))
        var onPreemption: String?
        @OptionGroup var waiting: WaitOptions
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard (1...1000).contains(count) else { throw ValidationError("--count must be from 1 to 1000.") }
            guard (-100...100).contains(priority ?? 0) else {
                throw ValidationError("--priority must be from -100 to 100.")
            }
            guard ["queue", "stop", nil].contains(onPreemption) else {
                throw ValidationError("--on-preemption must be queue or stop.")
            }
            guard preemptible || onPreemption == nil else {
                throw ValidationError("--on-preemption goes with --preemptible.")
            }
        }

        func run() async throws {
            let body = JSON.present([
                "name": .string(name), "flavor": .string(flavor), "image": .string(image),
                "key_name": key.map { .string($0) }, "user_data": try userData.map { .string(try Self.read($0)) },
                "metadata": try KeyValueOptions.object(metadata), "count": .whole(count),
                "node": node.map { .string($0) }, "availability_zone": zone.map { .string($0) },
                "exclude_nodes": excludeNode.isEmpty ? nil : .array(excludeNode.map { .string($0) }),
                "server_group": serverGroup.map { .string($0) }, "host_name": hostName.map { .string($0) },
                "on_host_loss": onHostLoss.map { .string($0.rawValue) },
                "queue": queue ? .flag(true) : nil, "priority": priority.map { .whole($0) },
                "preemptible": preemptible ? .flag(true) : nil, "on_preemption": onPreemption.map { .string($0) },
            ])
            try await site.withClient { client, printer in
                let answer = try await client.post("/v1/instances", body)
                let created = answer["items"] == .null ? [answer] : answer["items"].items
                try await InstanceChange(verb: "created", references: [], waiting: waiting, site: site)
                    .finish(created, [], client, printer)
            }
        }

        /// The file in base64, as the API takes it.
        static func read(_ file: String) throws(Failure) -> String {
            guard let bytes = FileManager.default.contents(atPath: file) else { throw .usage("cannot read '\(file)'") }
            guard bytes.count <= maximumUserData else {
                throw .usage("'\(file)' is larger than \(maximumUserData >> 10) KiB, which is too much for user data")
            }
            return bytes.base64EncodedString()
        }
    }
}
