import ArgumentParser
import Foundation
import RoostClient

struct UserCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "People and services who may sign in.",
        subcommands: [
            Create.self, List.self, Show.self, Change.self, Passwd.self, Enable.self, Disable.self, Masquerade.self,
            Delete.self,
        ])

    static let columns = [
        Column("name"), Column("full_name"), Column("roles"), Column("account"), Column("enabled"), Column("email"),
        Column("last_sign_in_at", "LAST SIGN-IN"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a user.",
            discussion: "The owner of an account makes users of it; a superuser makes any.")
        @Argument(help: "The name.") var name: String
        @Option(
            name: .long, help: ArgumentHelp("user if left out; may be given several times.", valueName: "role"))
        var role: [String] = []
        @Option(name: .long, help: "The account; your own if left out.") var account: String?
        @OptionGroup var person: PersonOptions
        @Option(
            name: .long,
            help: ArgumentHelp("Its first line is the password; by default it is asked for.", valueName: "file"))
        var passwordFile: String?
        @Flag(name: .long, help: "None: for who signs in by an API key or a mailed link.") var noPassword = false
        @Flag(name: .long, help: "The password is good for setting another alone.") var mustChangePassword = false
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard !noPassword || (passwordFile == nil && !mustChangePassword) else {
                throw ValidationError("--no-password excludes --password-file and --must-change-password.")
            }
        }

        func run() async throws {
            let password =
                noPassword ? nil : try Password.read(file: passwordFile, prompt: "Password for \(name): ", twice: true)
            let body = JSON.present([
                "name": .string(name), "roles": role.isEmpty ? nil : .texts(role),
                "account": account.map { .string($0) }, "email": person.email.map { .string($0) },
                "full_name": person.fullName.map { .string($0) }, "unix_name": person.unixName.map { .string($0) },
                "password": password.map { .string($0) } ?? .null,
                "must_change_password": mustChangePassword ? .flag(true) : nil,
            ])
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/users", body), UserCommand.columns)
            }
        }
    }

    /// What may be said of a person.
    struct PersonOptions: ParsableArguments {
        @Option(name: .long, help: "The name in full.") var fullName: String?
        @Option(name: .long, help: "An address for mail.") var email: String?
        @Option(name: .long, help: "The name on the site's other systems.") var unixName: String?
    }

    struct Change: AsyncParsableCommand {
        enum Member: String, ExpressibleByArgument, CaseIterable {
            case email
            case fullName = "full-name"
            case unixName = "unix-name"

            /// The API's key, and what stands for nothing there.
            var removed: (key: String, value: JSON) {
                switch self {
                case .email: ("email", .null)
                case .fullName: ("full_name", .string(""))
                case .unixName: ("unix_name", .null)
                }
            }
        }

        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Changes a user.",
            discussion: "Another address of one's own needs the present password too, which is asked for.",
            aliases: ["set", "update"])
        @Argument(help: "Name or ID; 'me' is yourself.") var user: String
        @Option(name: .long, help: ArgumentHelp("All of the roles; may be given several times.", valueName: "role"))
        var role: [String] = []
        @Option(name: .long, help: "Another account, for who has no instances and images.") var account: String?
        @OptionGroup var person: PersonOptions
        @Flag(name: .long, inversion: .prefixedNo, help: "Ask for another password at the next sign-in.")
        var mustChangePassword: Bool?
        @Option(name: .long, help: ArgumentHelp("Take away: email, full-name or unix-name.", valueName: "member"))
        var unset: [Member] = []
        @Flag(name: .long, help: "Ask for the present password also where a user is named.") var own = false
        @OptionGroup var site: SiteOptions

        func run() async throws {
            var body = JSON.present([
                "roles": role.isEmpty ? nil : .texts(role), "account": account.map { .string($0) },
                "email": person.email.map { .string($0) }, "full_name": person.fullName.map { .string($0) },
                "unix_name": person.unixName.map { .string($0) },
                "must_change_password": mustChangePassword.map { .flag($0) },
            ])
            for member in unset { body = body.setting(member.removed.key, to: member.removed.value) }
            if own || user == "me", person.email != nil || unset.contains(.email) {
                let current = try Password.read(file: nil, prompt: "Present password: ")
                body = body.setting("current_password", to: .string(current))
            }
            try await ResourceChange(collection: "users", reference: user, columns: UserCommand.columns, site: site)
                .send(body)
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

        func run() async throws { try await setEnabled(true, "users", users, site) }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Ends users' sessions and does not let them sign in.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "user")) var users: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws { try await setEnabled(false, "users", users, site) }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists users.")
        static let collection = "users"
        static let columns = UserCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one user; 'me' is yourself.")
        static let collection = "users"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "user")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Deletes users who have no instances and images, or hands these over.")
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "user")) var users: [String]
        @Option(
            name: .long,
            help: ArgumentHelp("Gets the instances and images; of the same account.", valueName: "user"))
        var handOverTo: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let query = Address.query(["hand_over_to": handOverTo])
            try await site.withClient { client, printer in
                try await attemptEach(users) { user in
                    _ = try await client.delete(try path("users", user) + query)
                    printer.note("Deleted \(user.printable).")
                }
            }
        }
    }
}

extension UserCommand {
    struct Masquerade: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Gives a token with which you act as another user (superusers).",
            discussion: """
                Whatever is done with it is recorded under both names. It lasts for some minutes, and is good for nothing \
                that only the user may do: no password, no API key. The token alone is printed, for \
                ROOST_TOKEN="$(roost user masquerade NAME)"; with --save, it is kept under a profile instead.
                """)
        @Argument(help: "Name or ID.") var user: String
        @Option(name: .long, help: ArgumentHelp("Keep it in this profile.", valueName: "profile")) var save: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let file = ProfileFile()
            let target = try Site.resolve(
                profile: site.profile, environment: ProcessInfo.processInfo.environment, file: file)
            guard save != target.profileName else {
                throw Failure.usage("profile '\(target.profileName)' is your own; save the token under another name")
            }
            try await site.withClient { client, printer in
                let answer = try await client.post(bare: try path("users", user, "masquerade"))
                let tokens = try await client.explaining { try OAuthTokens(answer) }
                if let save {
                    try await keep(tokens, as: save, target, file)
                    printer.note("Kept in profile '\(save.printable)'.")
                } else if printer.format == .table {
                    printer.line(tokens.accessToken)
                } else {
                    printer.resource(answer)
                }
                let end = tokens.lifetime.map { " for \(Amount.seconds($0 / .seconds(1)))" } ?? ""
                printer.note("It acts as \(user.printable)\(end); all that is done is recorded under your name, too.")
            }
        }

        private func keep(_ tokens: OAuthTokens, as name: String, _ site: Site, _ file: ProfileFile) async throws {
            try await file.locked { file in
                var profiles = try file.read()
                profiles[name] = Profile(
                    endpoint: site.endpoint, authorityPath: site.authorityPath, accessToken: tokens.accessToken)
                try file.write(profiles)
            }
        }
    }
}
