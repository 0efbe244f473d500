import ArgumentParser
import Foundation

/// Resources whose commands only list, show, make and delete.
struct FlavorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flavor", abstract: "Sizes of instances.",
        subcommands: [Create.self, List.self, Show.self, Delete.self])
    static let columns = [
        Column("name"), Column("vcpus"), Column("ram_mib"), Column("disk_gib"), Column("properties"), Column("id"),
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes a flavor (superusers).")
        @Argument(help: "The name.") var name: String
        @Option(name: .long, help: "Virtual CPUs.") var vcpus: Int
        @Option(name: .long, help: "RAM in MiB.") var ram: Int
        @Option(name: .long, help: "Disk in GiB.") var disk: Int
        @Option(name: .long, help: "key=value; may be given several times.") var property: [String] = []
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body: [String: JSON?] = [
                "name": .string(name), "vcpus": .whole(Int64(vcpus)), "ram_mib": .whole(Int64(ram)),
                "disk_gib": .whole(Int64(disk)), "properties": try Properties.object(property),
            ]
            try await site.withClient { client in
                Output.show(try await client.post("/v1/flavors", body), columns: FlavorCommand.columns, as: site.output)
            }
        }
    }
    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists flavors.")
        static let path = "/v1/flavors"
        static let columns = FlavorCommand.columns
        @OptionGroup var site: SiteOptions
    }
    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one flavor.")
        static let path = "/v1/flavors"
        @Argument(help: "Name or ID.") var reference: String
        @OptionGroup var site: SiteOptions
    }
    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes a flavor that no instance has.")
        static let path = "/v1/flavors"
        @Argument(help: "Name or ID.") var reference: String
        @OptionGroup var site: SiteOptions
    }
}

struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "SSH keys that guests accept.",
        subcommands: [Create.self, List.self, Show.self, Delete.self])
    static let columns = [Column("name"), Column("type"), Column("fingerprint"), Column("owner"), Column("id")]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Registers a public key.")
        @Argument(help: "The name.") var name: String
        @Option(
            name: [.customLong("public-key-file"), .customLong("public-key")],
            help: "The file; by default ~/.ssh/id_ed25519.pub or id_rsa.pub.")
        var publicKeyFile: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let home = ProcessInfo.processInfo.environment["HOME"] ?? ""
            let candidates =
                publicKeyFile.map { [$0] } ?? ["id_ed25519", "id_ecdsa", "id_rsa"].map { "\(home)/.ssh/\($0).pub" }
            guard let text = candidates.lazy.compactMap({ try? String(contentsOfFile: $0, encoding: .utf8) }).first
            else {
                throw Failure("cannot read a public key from \(candidates.joined(separator: ", "))", isUsage: true)
            }
            try await site.withClient { client in
                let key = try await client.post(
                    "/v1/keypairs",
                    [
                        "name": .string(name),
                        "public_key": .string(text.trimmingCharacters(in: .whitespacesAndNewlines)),
                    ])
                Output.show(key, columns: KeyCommand.columns, as: site.output)
            }
        }
    }
    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists keys.")
        static let path = "/v1/keypairs"
        static let columns = KeyCommand.columns
        @OptionGroup var site: SiteOptions
    }
    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one key.")
        static let path = "/v1/keypairs"
        @Argument(help: "Name or ID.") var reference: String
        @OptionGroup var site: SiteOptions
    }
    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes a key; guests that have it keep it.")
        static let path = "/v1/keypairs"
        @Argument(help: "Name or ID.") var reference: String
        @OptionGroup var site: SiteOptions
    }
}

struct UserCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "People who may sign in.",
        subcommands: [Create.self, List.self, Show.self, Passwd.self, Enable.self, Disable.self, Delete.self])
    static let columns = [
        Column("name"), Column("role"), Column("enabled"), Column("account"), Column("email"), Column("id"),
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes a user (superusers).")
        @Argument(help: "The name.") var name: String
        @Option(name: .long, help: "user or superuser.") var role = "user"
        @Option(name: .long, help: "An address for mail.") var email: String?
        @Option(name: .long, help: "A file whose first line is the password; by default it is asked for.")
        var passwordFile: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let password = try Password.read(file: passwordFile, prompt: "Password for \(name): ")
            try await site.withClient { client in
                let user = try await client.post(
                    "/v1/users",
                    [
                        "name": .string(name), "role": .string(role), "email": email.map { .string($0) },
                        "password": .string(password),
                    ])
                Output.show(user, columns: UserCommand.columns, as: site.output)
            }
        }
    }
    struct Passwd: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Sets a password.")
        @Argument(help: "The user.") var user: String
        @Flag(name: .long, help: "Ask for the present password, which changing one's own needs.") var own = false
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let current = own ? try Password.read(file: nil, prompt: "Present password: ") : nil
            let password = try Password.read(file: nil, prompt: "New password: ")
            try await site.withClient { client in
                _ = try await client.patch(
                    "/v1/users/\(segment(user))",
                    ["password": .string(password), "current_password": current.map { .string($0) }])
            }
        }
    }
    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets a user sign in.")
        @Argument(help: "The user.") var user: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                _ = try await client.patch("/v1/users/\(segment(user))", ["enabled": .flag(true)])
            }
        }
    }
    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Ends a user's sessions and lets them not sign in.")
        @Argument(help: "The user.") var user: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                _ = try await client.patch("/v1/users/\(segment(user))", ["enabled": .flag(false)])
            }
        }
    }
    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists users.")
        static let path = "/v1/users"
        static let columns = UserCommand.columns
        @OptionGroup var site: SiteOptions
    }
    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one user.")
        static let path = "/v1/users"
        @Argument(help: "Name or ID.") var reference: String
        @OptionGroup var site: SiteOptions
    }
    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes a user who has no instances.")
        static let path = "/v1/users"
        @Argument(help: "Name or ID.") var reference: String
        @OptionGroup var site: SiteOptions
    }
}

struct OperationCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operation", abstract: "Requests that take time.", subcommands: [List.self, Show.self, Wait.self])
    static let columns = [
        Column("kind"), Column(title: "resource") { $0["resource"]["name"].shown }, Column("status"),
        Column("progress"),
        Column("created_at"), Column("id"),
    ]

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists operations.")
        static let path = "/v1/operations"
        static let columns = OperationCommand.columns
        @OptionGroup var site: SiteOptions
    }
    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one operation.")
        static let path = "/v1/operations"
        @Argument(help: "The ID.") var reference: String
        @OptionGroup var site: SiteOptions
    }
    struct Wait: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Returns when the operation has ended; exits with 1 if it failed.")
        @Argument(help: "The ID.") var operation: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await site.withClient { client in
                Output.show(
                    try await OperationWait(client: client)(operation), columns: OperationCommand.columns,
                    as: site.output)
            }
        }
    }
}

struct EventCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "event", abstract: "The event log.", subcommands: [List.self])

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists events, oldest first.")
        static let path = "/v1/events"
        static let columns = [
            Column("sequence"), Column("at"), Column("kind"), Column("actor"),
            Column(title: "resource") { $0["resource"]["name"].shown }, Column("detail"),
        ]
        @OptionGroup var site: SiteOptions
    }
}

struct UsageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "What was used, by day, instance or user.")
    @Option(name: .long, help: "Only this user's.") var user: String?
    @Option(name: .long, help: "First day, YYYY-MM-DD; by default the first of this month.") var from: String?
    @Option(name: .long, help: "Last day, YYYY-MM-DD; by default today.") var to: String?
    @Option(name: .long, help: "day, instance or user.") var by = "instance"
    @OptionGroup var site: SiteOptions

    func run() async throws {
        var columns = [
            Column("user"), Column("server_hours"), Column("vcpu_hours"), Column("ram_mib_hours"),
            Column("cpu_seconds"),
        ]
        if by == "day" { columns.insert(Column("day"), at: 0) }
        if by == "instance" { columns.insert(contentsOf: [Column("instance"), Column("flavor")], at: 1) }
        let shown = columns
        try await site.withClient { client in
            let answer = try await client.get("/v1/usage", ["user": user, "from": from, "to": to, "group_by": by])
            Output.show(answer, columns: shown, as: site.output)
        }
    }
}

/// A command that prints a list of resources.
protocol Listing: AsyncParsableCommand {
    static var path: String { get }
    static var columns: [Column] { get }
    var site: SiteOptions { get }
}

extension Listing {
    func run() async throws {
        try await site.withClient { client in
            Output.show(try await client.list(Self.path), columns: Self.columns, as: site.output)
        }
    }
}

/// A command that prints one resource.
protocol Showing: AsyncParsableCommand {
    static var path: String { get }
    var reference: String { get }
    var site: SiteOptions { get }
}

extension Showing {
    func run() async throws {
        try await site.withClient { client in
            Output.show(try await client.get("\(Self.path)/\(segment(reference))"), as: site.output)
        }
    }
}

/// A command that deletes one resource.
protocol Deleting: AsyncParsableCommand {
    static var path: String { get }
    var reference: String { get }
    var site: SiteOptions { get }
}

extension Deleting {
    func run() async throws {
        try await site.withClient { client in _ = try await client.delete("\(Self.path)/\(segment(reference))") }
    }
}
