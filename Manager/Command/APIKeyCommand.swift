import ArgumentParser
import Foundation
import RoostClient

struct APIKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "api-key", abstract: "What programs sign in with.",
        discussion: """
            A key may do what its owner may, at most, and less where it has scopes: instances, instances:read, instances:write, or names of \
            permissions. Programs sign in with 'roost login --api-key ID', or at /oauth/token with the grant \
            client_credentials.
            """,
        subcommands: [Create.self, List.self, Show.self, Change.self, Delete.self])

    static let columns = [
        Column("name"), Column("owner"), Column("scopes"), Column("expires_at", "EXPIRES"),
        Column("last_used_at", "LAST USED"), Column("last_used_from", "FROM"), Column.id,
    ]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes a key; its secret is shown this once.")
        @Argument(help: "The name.") var name: String
        @Option(
            name: .long,
            help: ArgumentHelp("What it covers, by default everything; may be given several times.", valueName: "scope")
        )
        var scope: [String] = []
        @Option(
            name: .long, help: ArgumentHelp("When it ends: 90d, 12h, or a time; never if left out.", valueName: "time"))
        var expires: String?
        @Option(name: .long, help: ArgumentHelp("Whose key it shall be (superusers).", valueName: "user"))
        var owner: String?
        @Option(
            name: .long,
            help: ArgumentHelp("Write the secret there, for you alone to read, and do not show it.", valueName: "file"))
        var secretFile: String?
        @OptionGroup var site: SiteOptions

        func run() async throws {
            let body = JSON.present([
                "name": .string(name), "scopes": scope.isEmpty ? nil : .texts(scope),
                "expires_at": try expires.map { .string(try Moment.parse($0, now: Date())) },
                "owner": owner.map { .string($0) },
            ])
            let file = try secretFile.map { try SecretFile($0) }
            try await site.withClient { client, printer in
                let key: JSON
                do {
                    key = try await client.post("/v1/api-keys", body)
                    if let file { try file.write((key["secret"].text ?? "") + "\n") }
                } catch {
                    file?.discard()
                    throw error
                }
                let shown = file == nil ? key : .object(key.members.filter { $0.key != "secret" })
                printer.resource(shown)
                if file == nil { printer.note("The secret is shown this once; keep it where others cannot read it.") }
            }
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "change", abstract: "Changes a key's name, scopes or end.", aliases: ["set", "update"])
        @Argument(help: "Name or ID.") var key: String
        @Option(name: .long, help: "A new name.") var name: String?
        @Option(name: .long, help: ArgumentHelp("All of the scopes; may be given several times.", valueName: "scope"))
        var scope: [String] = []
        @Option(name: .long, help: ArgumentHelp("When it ends: 90d, 12h, or a time.", valueName: "time"))
        var expires: String?
        @Flag(name: .long, help: "It never ends.") var noExpiry = false
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard expires == nil || !noExpiry else {
                throw ValidationError("--expires and --no-expiry exclude each other.")
            }
        }

        func run() async throws {
            let end: JSON? = noExpiry ? .null : try expires.map { .string(try Moment.parse($0, now: Date())) }
            let body = JSON.present([
                "name": name.map { .string($0) }, "scopes": scope.isEmpty ? nil : .texts(scope), "expires_at": end,
            ])
            try await ResourceChange(
                collection: "api-keys", reference: key, columns: APIKeyCommand.columns, site: site
            ).send(body)
        }
    }

    struct List: Listing {
        static let configuration = CommandConfiguration(abstract: "Lists keys, and when they were used last.")
        static let collection = "api-keys"
        static let columns = APIKeyCommand.columns
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }

    struct Show: Showing {
        static let configuration = CommandConfiguration(abstract: "Shows one key, without its secret.")
        static let collection = "api-keys"
        @Argument(help: ArgumentHelp("Name or ID.", valueName: "key")) var reference: String
        @OptionGroup var site: SiteOptions
    }

    struct Delete: Deleting {
        static let configuration = CommandConfiguration(
            abstract: "Ends keys, with the tokens that they got.", aliases: ["revoke"])
        static let collection = "api-keys"
        @Argument(help: ArgumentHelp("Names or IDs.", valueName: "key")) var references: [String]
        @OptionGroup var site: SiteOptions
    }
}

/// Times as people write them.
enum Moment {
    /// `90d`, `12h` or `30m` from now, a day, or a time with its zone; as the API takes it.
    static func parse(_ text: String, now: Date) throws(Failure) -> String {
        let units: [Character: TimeInterval] = ["m": 60, "h": 3600, "d": 86_400, "w": 604_800]
        if let last = text.last, let unit = units[last], let count = Int(text.dropLast()), (1...100_000).contains(count)
        {
            return now.addingTimeInterval(unit * Double(count)).formatted(.iso8601)
        }
        let zoned = text.contains("T") ? text : text + "T00:00:00Z"
        guard let date = try? Date.ISO8601FormatStyle().parse(zoned) else {
            throw .usage("'\(text)' is not a time such as 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z")
        }
        guard date > now else { throw .usage("'\(text)' has passed already") }
        return date.formatted(.iso8601)
    }
}

/// A new file that only its owner reads, made before there is a secret to lose.
struct SecretFile {
    private let path: String
    private let handle: FileHandle

    init(_ path: String) throws(Failure) {
        self.path = path
        let number = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard number >= 0 else { throw .usage("cannot make '\(path)': \(String(cString: strerror(errno)))") }
        handle = FileHandle(fileDescriptor: number, closeOnDealloc: true)
    }

    func write(_ text: String) throws {
        do {
            try handle.write(contentsOf: Data(text.utf8))
            try handle.synchronize()
        } catch {
            throw Failure("cannot write '\(path)', and what should be in it is lost; delete it and begin again")
        }
    }

    /// Takes it away again where nothing was written.
    func discard() { unlink(path) }
}
