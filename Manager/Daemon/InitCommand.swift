import ArgumentParser
import ProtocolModel
import ProtocolTrust

struct InitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Makes a new site: its authority, its record, and the superuser admin.")

    @OptionGroup var options: SettingsOptions

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Makes a further manager of a site instead, with the site's files in this folder.", valueName: "folder"))
    var from: String?

    func run() async throws {
        let settings = try options.read()
        let now = SystemTime().timestamp
        if let from {
            try Site.join(in: settings.data, from: from, now: now)
            print(
                """
                A further manager of the site is in \(settings.data). With the same store.url as the others:
                  roost-manager run --data \(settings.data)
                """)
            return
        }
        let password = try await Site.create(
            in: settings.data, record: settings.storeURL == nil ? nil : settings.storeLocation(), now: now)
        let site = Site(folder: settings.data)
        let keys = try site.open(names: settings.names, now: now)
        print(
            """
            A new site is in \(settings.data).

              superuser        admin
              password         \(password)   (also in \(site.passwordPath))
              CA certificate   \(site.authorityPath)
              CA fingerprint   \(keys.authority.fingerprint)

            Next:
              roost-manager run --data \(settings.data)
              export ROOST_ENDPOINT=https://localhost:\(settings.apiPort) ROOST_CACERT=\(site.authorityPath)
              roost login --username admin
              roost node token create
            """)
    }
}
