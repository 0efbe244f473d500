import ArgumentParser
import Foundation
import RoostClient

struct ProfileCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile", abstract: "The sites that 'roost login' has kept.",
        discussion: """
            'roost login --profile NAME' makes one. A command uses the profile that --profile or ROOST_PROFILE names, or \
            else the one that 'roost profile use' chose.
            """,
        subcommands: [List.self, Use.self, Remove.self])

    static let columns = [
        Column("name"), Column("current"), Column("endpoint"), Column("signed_in", "SIGNED IN"),
        Column("ca_certificate", "CA CERTIFICATE"),
    ]

    /// What may be shown of the profiles: no token.
    static func rows(_ profiles: Profiles) -> [JSON] {
        let current = profiles.current ?? Profiles.usualName
        return profiles.all.sorted { $0.key < $1.key }.map { name, profile in
            let how = profile.apiKey != nil ? "api-key" : profile.isSignedIn ? "yes" : nil
            return [
                "name": .string(name), "current": .flag(name == current), "endpoint": .string(profile.endpoint),
                "signed_in": .string(how ?? "no"),
                "ca_certificate": profile.authorityPath.map { .string($0) } ?? .null,
            ]
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists profiles, without their tokens.")
        @OptionGroup var columns: ColumnOptions
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let profiles = JSON.list(ProfileCommand.rows(try ProfileFile().read()))
            try columns.print(profiles, ProfileCommand.columns, site.printer)
        }
    }

    struct Use: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Chooses the profile that is used where none is named.")
        @Argument(help: ArgumentHelp("Its name.", valueName: "profile")) var name: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await ProfileFile().locked { file in
                var profiles = try file.read()
                guard profiles[name] != nil else { throw ProfileCommand.unknown(name, profiles) }
                profiles.current = name
                try file.write(profiles)
            }
            site.printer.note("Profile '\(name.printable)' is used from now on.")
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Forgets profiles and their tokens; 'roost logout' revokes them first.")
        @Argument(help: ArgumentHelp("Names.", valueName: "profile")) var names: [String]
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await attemptEach(names) { name in
                try await ProfileFile().locked { file in
                    var profiles = try file.read()
                    guard profiles[name] != nil else { throw ProfileCommand.unknown(name, profiles) }
                    profiles[name] = nil
                    if profiles.current == name { profiles.current = nil }
                    try file.write(profiles)
                }
                site.printer.note("Removed profile '\(name.printable)'.")
            }
        }
    }

    static func unknown(_ name: String, _ profiles: Profiles) -> Failure {
        let near = Nearness.nearest(to: name, among: profiles.all.keys.sorted())
        return .usage("there is no profile '\(name)'" + (near.map { "; did you mean '\($0)'?" } ?? ""))
    }
}
