import ArgumentParser
import Foundation
import RoostClient

struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "SSH keys that guests accept.",
        subcommands: [Create.self, List.self, Show.self, Change.self, Delete.self])

    static let columns = [
        Column("name"), Column("type"), Column("fingerprint", nil, .identifier), Column("owner"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Registers a public key, or has the manager make a pair.",
            discussion: """
                With --generate, the private key is in the answer this once and kept nowhere: it is printed, or written to a \
                new file that you alone can read.
                """)
        static let usualNames = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"]

        @Argument(help: "The name.") var name: String
        @Option(
            name: [.customLong("public-key"), .customLong("public-key-file")],
            help: ArgumentHelp("By default ~/.ssh/id_ed25519.pub, id_ecdsa.pub or id_rsa.pub.", valueName: "file"))
        var publicKey: String?
        @Flag(name: .long, help: "The manager makes a pair.") var generate = false
        @Option(
            name: .long, help: ArgumentHelp("With --generate: where the private key is written.", valueName: "file"))
        var privateKeyFile: String?
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard !generate || publicKey == nil else {
                throw ValidationError("--generate and --public-key exclude each other.")
            }
            guard generate || privateKeyFile == nil else {
                throw ValidationError("--private-key-file goes with --generate.")
            }
        }

        func run() async throws {
            if generate { return try await makePair() }
            let body: JSON = [
                "name": .string(name), "public_key": .string(try Self.key(publicKey, home: NSHomeDirectory())),
            ]
            try await site.withClient { client, printer in
                printer.list(try await client.post("/v1/keypairs", body), KeyCommand.columns)
            }
        }

        private func makePair() async throws {
            let file = try privateKeyFile.map { try SecretFile($0) }
            try await site.withClient { client, printer in
                do {
                    let pair = try await client.post("/v1/keypairs", ["name": .string(name)])
                    let secret = pair["private_key"].text ?? ""
                    guard let file else {
                        guard printer.format == .table else { return printer.resource(pair) }
                        printer.note("The private key is shown this once:")
                        return Terminal.writeOutput(secret.hasSuffix("\n") ? secret : secret + "\n")
                    }
                    try file.write(secret)
                    printer.list(
                        .object(pair.members.filter { $0.key != "private_key" }), KeyCommand.columns)
                } catch {
                    file?.discard()
                    throw error
                }
            }
        }

        /// The text of the chosen file, or of the first of the usual ones that is there.
        static func key(_ file: String?, home: String) throws(Failure) -> String {
            let candidates = file.map { [$0] } ?? usualNames.map { "\(home)/.ssh/\($0)" }
            guard let text = candidates.lazy.compactMap({ try? String(contentsOfFile: $0, encoding: .utf8) }).first
            else {
                throw .usage(
                    "cannot read a public key from \(candidates.joined(separator: ", ")); make one with ssh-keygen, or "
                        + "with --generate")
            }
            // It is easy to name the wrong one of the pair, and what is sent cannot be called back.
            guard !text.contains("PRIVATE KEY") else {
                throw .usage("that file holds a private key, which must stay with you; name the one that ends in .pub")
            }
            return text.trimmingCharacters(in: .whitespacesAndNewlines)
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Renames a key.", aliases: ["set", "update"])
        @Argument(help: "Name or ID.") var key: String
        @Option(name: .long, help: "A new name.") var name: String
        @OptionGroup var site: SiteOptions

        func run() async throws {
            try await ResourceChange(collection: "keypairs", reference: key, columns: KeyCommand.columns, site: site)
                .send(["name": .string(name)])
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists keys.")
        static let collection = "keypairs"
        static let columns = KeyCommand.columns
        @OptionGroup var list: ListOptions
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
