import ArgumentParser
import Foundation
import RoostClient

struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "SSH keys that guests accept.",
        subcommands: [Create.self, List.self, Show.self, Delete.self])

    static let columns = [
        Column("name"), Column("type"), Column("fingerprint", nil, .identifier), Column("owner"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Registers a public key.")
        static let usualNames = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"]

        @Argument(help: "The name.") var name: String
        @Option(
            name: [.customLong("public-key"), .customLong("public-key-file")],
            help: ArgumentHelp("By default ~/.ssh/id_ed25519.pub, id_ecdsa.pub or id_rsa.pub.", valueName: "file"))
        var publicKey: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body: JSON = [
                "name": .string(name), "public_key": .string(try Self.key(publicKey, home: NSHomeDirectory())),
            ]
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/keypairs", body), KeyCommand.columns)
            }
        }

        /// The text of the chosen file, or of the first of the usual ones that is there.
        static func key(_ file: String?, home: String) throws(Failure) -> String {
            let candidates = file.map { [$0] } ?? usualNames.map { "\(home)/.ssh/\($0)" }
            guard let text = candidates.lazy.compactMap({ try? String(contentsOfFile: $0, encoding: .utf8) }).first
            else {
                throw .usage(
                    "cannot read a public key from \(candidates.joined(separator: ", ")); make one with ssh-keygen")
            }
            // It is easy to name the wrong one of the pair, and what is sent cannot be called back.
            guard !text.contains("PRIVATE KEY") else {
                throw .usage("that file holds a private key, which must stay with you; name the one that ends in .pub")
            }
            return text.trimmingCharacters(in: .whitespacesAndNewlines)
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists keys.")
        static let collection = "keypairs"
        static let columns = KeyCommand.columns
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one key.")
        static let collection = "keypairs"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "key")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(abstract: "Deletes keys; guests that have one keep it.")
        static let collection = "keypairs"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "key")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}
