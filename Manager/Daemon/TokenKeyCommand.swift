import ArgumentParser
import Foundation
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel

/// `roost-manager token-key`: the keys that sign access tokens.
struct TokenKeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token-key", abstract: "Looks after the keys that sign access tokens.",
        subcommands: [TokenKeyRotateCommand.self])
}

struct TokenKeyRotateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate", abstract: "Makes a new key; nobody is signed out.",
        discussion: """
            Managers do this by themselves (oauth.key_days). While a manager runs on an SQLite record, only it can: ask it with \
            POST /v1/signing-keys/rotate. On MariaDB this works beside running managers.
            """)

    @OptionGroup var options: SettingsOptions

    @Flag(
        name: .customLong("discard-old"),
        help: "Ends all other keys, and with them every access token, at once: where a key may have been stolen.")
    var discardOld = false

    func run() async throws {
        let settings = try options.read()
        let secret = try Site(folder: settings.data).requestSecret()
        let store: Store
        do {
            store = try Store(settings.storeLocation())
        } catch StoreError.inUse {
            throw SiteError.files(
                "the manager runs and holds the record; ask it instead: POST /v1/signing-keys/rotate, as a superuser")
        }
        defer { store.close() }
        let (now, discardsOld) = (SystemTime().timestamp, discardOld)
        let key = try await store.write { sql in
            try SigningKeys(secret: secret).rotate(discardingOld: discardsOld, by: .console, at: now, in: sql)
        }
        print("key \(key.id) signs access tokens from \(key.signsFrom) on")
    }
}
