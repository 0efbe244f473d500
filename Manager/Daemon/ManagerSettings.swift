import Foundation
import Logging
import ManagerAPI
import ManagerIdentity
import ManagerImageSources
import ManagerModel
import ManagerStore
import ProcessSettings
import ProtocolModel

enum LogLevelName: String, CaseIterable, Sendable {
    case trace, debug, info, notice, warning, error
}

/// Everything that an operator can set for a manager, read once and passed down.
struct ManagerSettings: Sendable {
    enum Key {
        static let apiHost = Setting(
            "api.host", .text(1...255, accepted: "an IP address of this host, or 0.0.0.0 for all"), default: "0.0.0.0",
            "The address on which the API is served.")
        static let apiPort = Setting("api.port", .integer(1...65_535), default: 7400, "The port of the API.")
        static let names = Setting(
            "api.names", .list(), default: [],
            "Further names and IP addresses that clients reach the manager by; they stand in its certificate.")
        static let agentsHost = Setting(
            "agents.host", .text(1...255, accepted: "an IP address of this host, or 0.0.0.0 for all"),
            default: "0.0.0.0",
            "The address on which agents are served.")
        static let agentsPort = Setting("agents.port", .integer(1...65_535), default: 7401, "The port for agents.")
        static let agentsAdvertise = Setting(
            "agents.advertise", .optional(.text(1...255, accepted: "host:port")), default: nil,
            "Where agents reach the manager, for the join command that is shown; by default the host name and the port."
        )
        static let heartbeat = Setting(
            "agents.heartbeat_interval_ms", .integer(100...600_000), default: 5000,
            "How often agents report; a node is suspect after 3 missed reports and down after 6.")
        static let name = Setting(
            "manager.name", .optional(.text(1...253, accepted: "a name")), default: nil,
            "What this manager is called among several; by default the name of its host.")
        static let apiAdvertise = Setting(
            "api.advertise", .optional(.text(1...300, accepted: "host:port")), default: nil,
            "Where others reach this manager's API; by default the host name and the port.")
        static let corsOrigins = Setting(
            "api.cors_origins",
            .list(
                of: ValueKind(
                    name: "origin", accepted: "an origin such as https://portal.example.org, or * for any",
                    parse: { CrossOrigin([$0]) == nil ? nil : $0 }, render: { $0 })), default: [],
            "Pages of which origins a browser lets use the API; of none, unless some are named.")
        static let rateLimit = Setting(
            "api.rate_limit_requests", .integer(0...10_000_000), default: RateLimit.usual.requests,
            "How many requests a user may send to a manager in each window; 0 for any number.")
        static let rateWindow = Setting(
            "api.rate_limit_window_seconds", .integer(1...86_400),
            default: Int(RateLimit.usual.window.components.seconds), "The window of that limit.")
        static let rateLimitAll = Setting(
            "api.rate_limit_all", .boolean, default: false,
            "Whether that limit also holds for superusers and services.")
        static let fencingCommand = Setting(
            "fencing.command", .list(), default: [],
            "A program (its whole path) and its arguments that make sure that a lost host runs nothing, run where instances wait "
                + "for that; {node}, {id} and {address} stand for the host's name, ID and address. It ends with 0 once the "
                + "host is off, and may be run again. No shell.")
        static let fencingAfter = Setting(
            "fencing.after_seconds", .integer(0...86_400), default: 60,
            "How long a host has counted as down before it is fenced.")
        static let fencingMost = Setting(
            "fencing.most_at_once", .integer(1...10_000), default: 3,
            "Where more nodes in service are lost at once, none is fenced.")
        static let fencingLimit = Setting(
            "fencing.time_limit_seconds", .integer(1...3600), default: 60, "How long the command may take.")
        static let chunksAdvertise = Setting(
            "chunks.advertise", .optional(.text(1...300, accepted: "host:port")), default: nil,
            "Where nodes reach this manager for images, among several managers; by default the host name and the port.")
        static let chunksHost = Setting(
            "chunks.host", .text(1...255, accepted: "an IP address of this host, or 0.0.0.0 for all"),
            default: "0.0.0.0",
            "The address on which images are served to agents.")
        static let chunksPort = Setting(
            "chunks.port", .integer(1...65_535), default: 7403,
            "The port on which images are served to agents; not 7402, so that an agent fits on the same host.")
        static let maximumImage = Setting(
            "images.maximum_gib", .integer(1...16_384), default: 1024,
            "The largest image that is taken, both as a file and as a disk.")
        static let uploadPatience = Setting(
            "images.upload_keep_hours", .integer(1...8760), default: 24,
            "How long a file that came in part is kept for its sender to go on with.")
        static let fetchTimeout = Setting(
            "images.fetch_timeout_minutes", .integer(1...10_080), default: 360,
            "How long fetching an image from an address may take.")
        static let allowPrivate = Setting(
            "images.allow_private_addresses", .boolean, default: false,
            "Whether images may be fetched from hosts that are not on the public Internet, such as this site's own.")
        static let allowedHosts = Setting(
            "images.allowed_hosts", .list(), default: [],
            "Hosts from which images may be fetched wherever they are.")
        static let imageAuthorities = Setting(
            "images.authority_file", .optional(.path), default: nil,
            "Certificates of authorities that are trusted beside the system's where images are fetched.")
        static let bootTimeout = Setting(
            "instances.boot_timeout_seconds", .integer(10...86_400), default: 180,
            "How long a guest may take until it answers; later it is in ERROR.")
        static let stopTimeout = Setting(
            "instances.stop_timeout_seconds", .integer(1...86_400), default: 90,
            "How long a guest may take to shut down before it is forced off.")
        static let preemptionGrace = Setting(
            "instances.preemption_grace_seconds", .integer(1...86_400), default: 60,
            "How long the guest of a preemptible instance may take to shut down, when another needs its room, before it is forced off."
        )
        static let usageInterval = Setting(
            "usage.interval_seconds", .integer(1...3600), default: 10, "How often agents sample their guests.")
        static let eventDays = Setting(
            "events.keep_days", .integer(1...36_500), default: 90, "How long events are kept.")
        static let eventCount = Setting(
            "events.keep_count", .integer(1000...1_000_000_000), default: 1_000_000,
            "How many events are kept at most; the oldest go first.")
        static let operationDays = Setting(
            "operations.keep_days", .integer(1...36_500), default: 30,
            "How long operations are kept after they have ended.")
        static let deletedDays = Setting(
            "deleted.keep_days", .integer(1...36_500), default: 90,
            "How long deleted instances and images can still be looked up; usage reports name them for ever.")
        static let storeURL = Setting(
            "store.url", .optional(.text(1...2000, accepted: MariaDBAddress.form)), default: nil,
            "The database that holds the record; by default an SQLite file in the data folder.")
        static let storePasswordFile = Setting(
            "store.password_file", .optional(.path), default: nil,
            "A file with the database user's password; the environment variable ROOST_STORE_PASSWORD does as well.")
        static let logLevel = Setting(
            "log.level", ValueKind<LogLevelName>.choice, default: .info, "How much is logged.")
    }

    static let schema = SettingsSchema(
        program: "roost-manager", defaultConfigurationPath: "/etc/roost/manager.yaml",
        defaultDataPath: "/var/lib/roost/manager",
        [
            Key.name.declared, Key.apiHost.declared, Key.apiPort.declared, Key.names.declared,
            Key.apiAdvertise.declared, Key.agentsHost.declared,
            Key.corsOrigins.declared, Key.rateLimit.declared, Key.rateWindow.declared, Key.rateLimitAll.declared,
            Key.agentsPort.declared, Key.agentsAdvertise.declared, Key.heartbeat.declared, Key.chunksHost.declared,
            Key.chunksPort.declared, Key.chunksAdvertise.declared,
            Key.fencingCommand.declared, Key.fencingAfter.declared, Key.fencingLimit.declared,
            Key.fencingMost.declared,
            Key.maximumImage.declared, Key.uploadPatience.declared, Key.fetchTimeout.declared,
            Key.allowPrivate.declared, Key.allowedHosts.declared, Key.imageAuthorities.declared,
            Key.bootTimeout.declared, Key.stopTimeout.declared, Key.preemptionGrace.declared,
            Key.usageInterval.declared,
            Key.eventDays.declared, Key.eventCount.declared, Key.operationDays.declared, Key.deletedDays.declared,
            Key.storeURL.declared, Key.storePasswordFile.declared, Key.logLevel.declared,
        ] + IdentitySettings.declared + DirectoryOptions.declared + RegistrationOptions.declared)

    var data: String
    var name: String
    var apiAdvertise: String
    var chunksAdvertise: String
    var crossOrigin: CrossOrigin
    /// `nil` for none.
    var rateLimit: RateLimit?
    var apiHost: String
    var apiPort: Int
    var names: [String]
    var agentsHost: String
    var agentsPort: Int
    var agentsAdvertise: String
    var heartbeatInterval: Duration
    /// `nil`: none.
    var fencing: FencingCommand?
    var chunksHost: String
    var chunksPort: Int
    var maximumImageBytes: Int64
    var uploadPatience: Duration
    private var fetch = ImageFetcher.Settings()
    private var imageAuthorityFile: String?
    var bootTimeoutSeconds: Int
    var stopTimeoutSeconds: Int
    var preemptionGraceSeconds: Int
    var usageInterval: Duration
    var retention: RetentionPolicy
    /// `nil` for an SQLite file in the data folder.
    var storeURL: String?
    var storePasswordFile: String?
    var storePassword: StoreSecret?
    var logLevel: Logger.Level
    var identity: IdentitySettings
    var directory: DirectoryOptions
    var registration: RegistrationOptions
    /// What a person should know although nothing is wrong enough to stop.
    var warnings: [String]

    init(flags: SettingsFlags, environment: [String: String]) throws(SettingsError) {
        let reader = try SettingsReader(schema: Self.schema, flags: flags, environment: environment)
        data = reader.dataPath
        apiHost = reader.value(Key.apiHost)
        apiPort = reader.value(Key.apiPort)
        names = reader.value(Key.names)
        agentsHost = reader.value(Key.agentsHost)
        agentsPort = reader.value(Key.agentsPort)
        let host = names.first ?? ProcessInfo.processInfo.hostName
        agentsAdvertise = reader.value(Key.agentsAdvertise) ?? "\(host):\(agentsPort)"
        heartbeatInterval = .milliseconds(reader.value(Key.heartbeat))
        name = reader.value(Key.name) ?? ProcessInfo.processInfo.hostName
        apiAdvertise = reader.value(Key.apiAdvertise) ?? "\(host):\(apiPort)"
        chunksAdvertise = reader.value(Key.chunksAdvertise) ?? "\(host):\(reader.value(Key.chunksPort))"
        // Each was checked as it was read.
        crossOrigin = CrossOrigin(reader.value(Key.corsOrigins)) ?? .none
        let requests = reader.value(Key.rateLimit)
        rateLimit =
            requests == 0
            ? nil
            : RateLimit(
                requests: requests, window: .seconds(reader.value(Key.rateWindow)),
                holdsForAll: reader.value(Key.rateLimitAll))
        fencing = FencingCommand(
            arguments: reader.value(Key.fencingCommand), after: .seconds(reader.value(Key.fencingAfter)),
            timeLimit: .seconds(reader.value(Key.fencingLimit)), mostAtOnce: reader.value(Key.fencingMost))
        chunksHost = reader.value(Key.chunksHost)
        chunksPort = reader.value(Key.chunksPort)
        maximumImageBytes = Int64(reader.value(Key.maximumImage)) << 30
        uploadPatience = .seconds(3600 * reader.value(Key.uploadPatience))
        fetch.timeLimit = .seconds(60 * reader.value(Key.fetchTimeout))
        fetch.allowsPrivateAddresses = reader.value(Key.allowPrivate)
        fetch.allowedHosts = Set(reader.value(Key.allowedHosts).map { $0.lowercased() })
        imageAuthorityFile = reader.value(Key.imageAuthorities)
        bootTimeoutSeconds = reader.value(Key.bootTimeout)
        stopTimeoutSeconds = reader.value(Key.stopTimeout)
        preemptionGraceSeconds = reader.value(Key.preemptionGrace)
        usageInterval = .seconds(reader.value(Key.usageInterval))
        retention = RetentionPolicy()
        retention.eventDays = reader.value(Key.eventDays)
        retention.eventCount = reader.value(Key.eventCount)
        retention.operationDays = reader.value(Key.operationDays)
        retention.deletedDays = reader.value(Key.deletedDays)
        storeURL = reader.value(Key.storeURL)
        storePasswordFile = reader.value(Key.storePasswordFile)
        storePassword = environment["ROOST_STORE_PASSWORD"].map { StoreSecret($0) }
        logLevel = Logger.Level(rawValue: reader.value(Key.logLevel).rawValue) ?? .info
        identity = try IdentitySettings(reader)
        warnings = reader.warnings + identity.warnings
        directory = DirectoryOptions(reader)
        registration = RegistrationOptions(reader)
    }
}

extension ManagerSettings {
    /// Where the record is.
    ///
    /// - Throws: `StoreError.badLocation`, or `SiteError` where the password's file cannot be read.
    func storeLocation() throws -> StoreLocation {
        guard let storeURL else { return .file(Site(folder: data).storePath) }
        return try location(storeURL)
    }

    /// Reads a URL or a path; the password is the one of the settings.
    func location(_ text: String) throws -> StoreLocation {
        guard text.contains("://") else { return .file(text) }
        return try StoreLocation(text, password: try password())
    }

    private func password() throws -> StoreSecret? {
        guard let storePasswordFile else { return storePassword }
        guard let contents = FileManager.default.contents(atPath: storePasswordFile) else {
            throw SiteError.files("cannot read \(storePasswordFile), which store.password_file names")
        }
        // Editors end a file with a line feed; no password does.
        return StoreSecret(String(decoding: contents, as: UTF8.self).trimmingCharacters(in: .newlines))
    }

    /// How images are fetched.
    func fetchSettings() throws -> ImageFetcher.Settings {
        var settings = fetch
        if let imageAuthorityFile {
            guard let contents = FileManager.default.contents(atPath: imageAuthorityFile) else {
                throw SiteError.files("cannot read \(imageAuthorityFile), which images.authority_file names")
            }
            settings.authorityPEM = Array(contents)
        }
        return settings
    }

    /// How mailed links are made.
    ///
    /// - Parameter issuer: where clients reach the API.
    func mailedLinks(_ issuer: String) -> MailedLinks.Settings {
        var links = MailedLinks.Settings(
            provisioning: registration.provisioning, address: registration.linkAddress ?? issuer)
        links.lifetime = registration.linkLifetime
        return links
    }

    /// This manager as it registers itself.
    func record(_ id: ManagerID, at now: Timestamp) -> ManagerRecord {
        ManagerRecord(
            id: id, name: name, apiAddress: apiAdvertise, agentAddress: agentsAdvertise, chunkAddress: chunksAdvertise,
            version: RoostManager.version, startedAt: now)
    }
}
