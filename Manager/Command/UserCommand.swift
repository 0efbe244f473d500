import ArgumentParser
import RoostClient

struct UserCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "People who may sign in.",
        subcommands: [
            Create.self, List.self, Show.self, Passwd.self, Enable.self, Disable.self, Delete.self,
        ])

    static let columns = [
        Column("name"), Column("role"), Column("enabled"), Column("account"), Column("email"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes a user (superusers).")
        @Argument(help: "The name.") var name: String
        @Option(name: .long, help: "user or superuser.") var role = "user"
        @Option(name: .long, help: "An address for mail.") var email: String?
        @Option(
            name: .long,
            help: ArgumentHelp("Its first line is the password; by default it is asked for.", valueName: "file"))
        var passwordFile: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let password = try Password.read(file: passwordFile, prompt: "Password for \(name): ", twice: true)
            let body = JSON.present([
                "name": .string(name), "role": .string(role), "email": email.map { .string($0) },
                "password": .string(password),
            ])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/users", body), UserCommand.columns)
            }
        }
    }

    struct Passwd: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Sets a password: one's own, or as superuser another's.",
            discussion: "Changing one's own needs the present password too, which is asked for first.")
        @Argument(help: "The user; yourself if left out.") var user: String?
        @Flag(name: .long, help: "Ask for the present password also where a user is named.") var own = false
        @Option(
            name: .long,
            help: ArgumentHelp("Its first line is the new password; by default it is asked for.", valueName: "file"))
        var passwordFile: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let current = own || user == nil ? try Password.read(file: nil, prompt: "Present password: ") : nil
            let password = try Password.read(file: passwordFile, prompt: "New password: ", twice: true)
            let body = JSON.present(["password": .string(password), "current_password": current.map { .string($0) }])
            try await site.withClient { client, printer in
                _ = try await client.patch(try path("users", user ?? "me"), body)
                printer.note("The password is set.")
            }
        }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets users sign in.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "user")) var users: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await UserCommand.set(users, enabled: true, site) }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Ends users' sessions and does not let them sign in.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "user")) var users: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await UserCommand.set(users, enabled: false, site) }
    }

    private static func set(_ users: [String], enabled: Bool, _ site: SiteOptions) async throws {
        try await site.withClient { client, printer in
            try await attemptEach(users) { user in
                _ = try await client.patch(try path("users", user), ["enabled": .flag(enabled)])
                printer.note("\(enabled ? "Enabled" : "Disabled") \(user.printable).")
            }
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists users.")
        static let collection = "users"
        static let columns = UserCommand.columns
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one user; 'me' is yourself.")
        static let collection = "users"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "user")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes users who have no instances.")
        static let collection = "users"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "user")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
