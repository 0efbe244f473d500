import Logging
import ManagerIdentity
import ManagerImageSources
import ProcessSettings

/// How people and programs sign in.
struct IdentitySettings: Sendable {
    enum Key {
        static let issuer = Setting(
            "oauth.issuer", .optional(.text(9...255, accepted: "an address such as https://cloud.example.org:7400")),
            default: nil,
            "Where clients reach the API, which names this site in tokens; the same at all managers. By default https:// and "
                + "api.advertise of the manager that came first.")
        static let keyAge = Setting(
            "oauth.key_days", .integer(1...3650), default: 30,
            "For how long one key signs access tokens; then the next one does, unnoticed.")
        static let clients = Setting(
            "oauth.clients",
            .list(of: .text(3...600, accepted: "name=address, such as grafana=https://g.example.org/login")),
            default: [],
            "Further programs that people sign in with in the browser, each with an address that takes its codes; a name may "
                + "stand several times.")
        static let portal = Setting(
            "portal.redirect_uris", .list(of: .text(9...512, accepted: "an address")), default: [],
            "Where the portal takes codes.")
        static let networks = Setting(
            "login.allowed_networks",
            .list(of: .text(1...64, accepted: "a host, an address or a network such as 10.1.0.0/16")),
            default: LoginNetworks.privateNetworks,
            "Networks from which programs may exchange a password for a token; from elsewhere people sign in in the browser."
        )
        static let loginHosts = Setting(
            "login_allowed.hosts", .text(0...8192, accepted: "hosts, addresses or networks, with spaces between them"),
            default: "",
            "Further hosts and networks from which passwords are taken, for the portal.")
        static let authenticateHosts = Setting(
            "authenticate_allowed.hosts",
            .text(0...8192, accepted: "hosts, addresses or networks, with spaces between them"),
            default: "",
            "Further hosts and networks from which passwords are taken, for remote-desktop hosts.")
    }

    static let declared = [
        Key.issuer.declared, Key.keyAge.declared, Key.clients.declared, Key.portal.declared, Key.networks.declared,
        Key.loginHosts.declared, Key.authenticateHosts.declared,
    ]

    /// `nil`: as `api.advertise` says.
    var issuer: String?
    var keyAge: Duration
    var clients: OAuthClients
    /// Addresses, networks and names of hosts.
    private var trusted: [String]
    /// What a person should know although nothing is wrong enough to stop.
    var warnings: [String] = []

    init(_ reader: SettingsReader) throws(SettingsError) {
        issuer = reader.value(Key.issuer).map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 }
        keyAge = .seconds(86_400 * reader.value(Key.keyAge))
        var others: [String: [String]] = [:]
        for entry in reader.value(Key.clients) {
            let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, parts[1].hasPrefix("https://") || parts[1].hasPrefix("http://127.0.0.1") else {
                warnings.append("oauth.clients: '\(entry)' is left out, since it is not name=https://…")
                continue
            }
            others[parts[0], default: []].append(parts[1])
        }
        clients = OAuthClients(
            portalRedirects: reader.value(Key.portal),
            others: others.map { OAuthClient(id: $0.key, name: $0.key, redirects: .exact($0.value)) })
        let hosts = [Key.loginHosts, Key.authenticateHosts].flatMap {
            reader.value($0).split(separator: " ").map(String.init)
        }
        trusted = reader.value(Key.networks) + hosts
    }

    /// From where passwords are taken; names of hosts are looked up once, at the start.
    func networks(_ resolver: some HostResolver, _ logger: Logger) async -> LoginNetworks {
        var networks: [String] = []
        for text in trusted {
            if LoginNetworks.isNetwork(text) {
                networks.append(text)
                continue
            }
            let addresses = (try? await resolver.addresses(of: text)) ?? []
            networks += addresses.map(\.description)
            guard addresses.isEmpty else { continue }
            logger.warning(
                "a host has no address, and no password is taken from there", metadata: ["host": "\(text)"])
        }
        return LoginNetworks(networks)
    }
}
