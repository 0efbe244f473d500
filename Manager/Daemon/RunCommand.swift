import ArgumentParser
import ChunkPlane
import Crypto
import Dispatch
import Foundation
import Logging
import ManagerAPI
import ManagerDirectory
import ManagerFleet
import ManagerLeadership
import ManagerFleetNetwork
import ManagerIdentity
import ManagerImageSources
import ManagerImages
import ManagerLifecycle
import ManagerMail
import ManagerModel
import ManagerStore
import ProcessLog
import ProcessMemory
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import ServiceLifecycle
import UnixSignals

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Runs the manager until it is stopped.")

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        keepMemorySmall()
        let settings = try options.read()
        _ = bootstrapLogging(level: settings.logLevel)
        let logger = Logger(label: "roost-manager")
        for warning in settings.warnings { logger.warning("\(warning)") }
        let manager = try await Manager(settings: settings, logger: logger)
        // At debug the group would write each service out with all that it holds, keys included (SEC-14).
        var groupLogger = logger
        groupLogger.logLevel = max(.info, logger.logLevel)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: manager.services, gracefulShutdownSignals: [.sigterm, .sigint], logger: groupLogger))
        logger.info(
            "manager starts",
            metadata: [
                "version": "\(RoostManager.version)", "data": "\(settings.data)", "api.port": "\(settings.apiPort)",
                "agents.port": "\(settings.agentsPort)", "chunks.port": "\(settings.chunksPort)",
            ])
        try await group.run()
        manager.store.close()
        logger.info("manager stopped")
    }
}

/// A manager, put together: a short list of services over one store.
struct Manager {
    let store: Store
    private(set) var services: [any Service]

    init(settings: ManagerSettings, logger: Logger) async throws {
        let time = SystemTime()
        let site = Site(folder: settings.data)
        let keys = try site.open(names: settings.names, now: time.timestamp)
        try site.lock()
        let store = try await Self.openStore(settings.storeLocation(), logger)
        self.store = store
        let own = try settings.record(site.identifier(at: time.timestamp), at: time.timestamp)

        var lifecycle = LifecycleSettings()
        lifecycle.bootTimeoutSeconds = settings.bootTimeoutSeconds
        lifecycle.stopTimeoutSeconds = settings.stopTimeoutSeconds
        lifecycle.preemptionGraceSeconds = settings.preemptionGraceSeconds

        let images = try ImageStore(
            folder: site.imagesPath, logger: logger, maximumImageBytes: settings.maximumImageBytes)
        let imports = ImageImports(own: own.id, images: images, store: store, time: time, logger: logger)
        try await imports.recover()
        let fetches = ImageFetches(
            own: own.id, images: images, imports: imports, fetcher: try ImageFetcher(settings.fetchSettings()),
            store: store, time: time, logger: logger)

        var fleetSettings = Fleet.Settings(
            chunkAddress: ":\(settings.chunksPort)", lifecycle: lifecycle, softwareVersion: RoostManager.version)
        fleetSettings.heartbeatInterval = settings.heartbeatInterval
        fleetSettings.usageInterval = settings.usageInterval
        let fencing = try settings.fencing?.checked()
        fleetSettings.fencing = fencing?.rules
        let registry = ManagerRegistry(
            own: own, store: store, interval: store.isShared ? .seconds(2) : .seconds(30), time: time, logger: logger)
        let keeper = LeadershipKeeper(
            own: own, store: store, times: store.isShared ? .shared : .alone, time: time, logger: logger)
        let follower = FeedFollower(store: store, time: time, logger: logger)
        let fleet = Fleet(
            store: store, authority: keys.authority, settings: fleetSettings,
            site: Fleet.Site(
                leaderAddress: { keeper.currentLeader.flatMap { $0.id == own.id ? nil : $0.agentAddress } },
                agentAddresses: { registry.agentAddresses }), time: time, logger: logger,
            fence: { await fencing?.run($0) ?? .failed("the site has no command that fences hosts") })
        let pruning = Pruning(store: store, policy: settings.retention, time: time, logger: logger)
        let listener = try AgentListener(
            configuration: .init(
                host: settings.agentsHost, port: settings.agentsPort, keyPEM: keys.managerKeyPEM,
                certificateDER: keys.certificate.der, authorityDER: keys.authority.certificateDER,
                times: SessionTimes(heartbeatInterval: settings.heartbeatInterval)),
            backend: fleet, time: time, logger: logger)
        let governor = TransferGovernor()
        let chunks = try Self.chunkServer(settings, keys, images, fleet, governor, time, logger)
        let captures = try Self.captures(own.id, keys, images, store, governor, time, logger)

        let metrics = MetricsPage()
        ManagerMetrics.add(to: metrics, store: store, fleet: fleet, listener: listener.counters, chunks: chunks.server)
        let issuer = try await TokenService.agreedIssuer(
            configured: settings.identity.issuer, fallback: "https://\(settings.apiAdvertise)", in: store)
        let hasher = PasswordHasher()
        let tokens = try await TokenService(
            store: StoreCredentials(store), hasher: hasher, key: keys.tokenKey, secret: keys.requestSecret,
            issuer: issuer, clients: settings.identity.clients,
            networks: await settings.identity.networks(SystemResolver(), logger),
            external: Self.directory(settings, store: store, time: time, logger: logger),
            isCurrent: { follower.isCurrent(within: IdentityCache.patience) })
        let tokenKeeper = TokenKeeper(
            tokens: tokens, keys: SigningKeys(secret: keys.requestSecret), keyAge: settings.identity.keyAge,
            store: store,
            time: time, logger: logger)
        keeper.use(
            LeadershipKeeper.Work(
                lead: { term in
                    await withTaskGroup(of: Void.self) { group in
                        group.addTask { await fleet.lead(term) }
                        group.addTask { await pruning.run(as: term) }
                        group.addTask { await tokenKeeper.lead(as: term) }
                    }
                }, stop: { _ in fleet.stopLeading() }))
        let mail = try settings.registration.mailServer().map { MailQueue($0, time: time, logger: logger) }
        let mailedLinks = MailedLinks(
            settings.mailedLinks(issuer), store: store, hasher: hasher, outlet: mail, time: time)
        let api = try APIService(
            configuration: .init(
                address: settings.apiHost, port: settings.apiPort,
                tls: .init(
                    chainPEM: keys.certificate.pem + keys.authority.certificatePEM, keyPEM: keys.managerKeyPEM)),
            services: Services(
                store: store, tokens: tokens, time: time, idempotencySecret: keys.requestSecret, metrics: metrics,
                uploads: imports,
                site: SiteFacts(
                    version: RoostManager.version, manager: own.id, agentAddress: settings.agentsAdvertise,
                    authorityFingerprint: keys.authority.fingerprint.digest),
                lifecycle: lifecycle, crossOrigin: settings.crossOrigin, rateLimit: settings.rateLimit,
                mailedLinks: mailedLinks, leads: { keeper.term != nil },
                managers: {
                    let leader = keeper.currentLeader?.id
                    return registry.managers.map { manager, liveness in
                        ManagerStatus(manager: manager, liveness: liveness, leads: manager.id == leader)
                    }
                },
                readiness: { await store.shortcomings() + [follower.shortcoming].compactMap { $0 } }),
            logger: logger)
        // Those who come later use those who come earlier, and stop first: another manager leads while this one still
        // finishes the requests that it has.
        services = [
            Housekeeping(
                store: store, images: images, imports: imports, uploadPatience: settings.uploadPatience, logger: logger),
            imports, fetches, captures, chunks,
            TransferKeeper(store: store, governor: governor, logger: logger), registry, follower, listener,
            tokenKeeper,
            ConsoleRequests(
                folder: ConsoleFolder(data: settings.data), store: store, time: time, logger: logger),
        ]
        if let mail { services.append(mail) }
        services += [api, keeper]
    }

    /// Opens the record. A database that is not up yet is waited for, so that the order in which machines start does not
    /// matter; one that refuses the manager is not.
    private static func openStore(_ location: StoreLocation, _ logger: Logger) async throws -> Store {
        var backoff = Backoff(first: .milliseconds(200), maximum: .seconds(5))
        var random = SystemRandomNumberGenerator()
        var told: StoreOutage?
        while true {
            do {
                return try Store(location)
            } catch StoreError.unavailable(let outage) where outage.isTransient {
                if told != outage { logger.warning("waiting for the database", metadata: ["reason": "\(outage)"]) }
                told = outage
                try await Task.sleep(for: backoff.next(using: &random))
            }
        }
    }

    /// Who else knows passwords.
    private static func directory(
        _ settings: ManagerSettings, store: Store, time: SystemTime, logger: Logger
    ) throws -> DirectorySignIn? {
        try settings.directory.settings().map { directory in
            DirectorySignIn(
                directory: UserDirectory(directory, time: time, logger: logger), store: store,
                provisioning: settings.registration.provisioning, time: time, logger: logger)
        }
    }

    private static func captures(
        _ own: ManagerID, _ keys: Site.Keys, _ images: ImageStore, _ store: Store, _ governor: TransferGovernor,
        _ time: SystemTime, _ logger: Logger
    ) throws -> ImageCaptures {
        let anchor = try TrustAnchor(authorityDER: keys.authority.certificateDER)
        let context = try TLSContext(
            side: .client,
            credentials: TLSCredentials(
                certificatePEM: Array(keys.certificate.pem.utf8), privateKeyPEM: Array(keys.managerKeyPEM.utf8)))
        return ImageCaptures(
            own: own, images: images, store: store, governor: governor, context: { context },
            verify: { leaf in anchor.verify(leafDER: leaf, at: time.timestamp) }, time: time, logger: logger)
    }

    private static func chunkServer(
        _ settings: ManagerSettings, _ keys: Site.Keys, _ images: ImageStore, _ fleet: Fleet,
        _ governor: TransferGovernor, _ time: SystemTime, _ logger: Logger
    ) throws -> ChunkService {
        let anchor = try TrustAnchor(authorityDER: keys.authority.certificateDER)
        var configuration = ChunkServer.Configuration(
            address: "\(settings.chunksHost):\(settings.chunksPort)",
            credentials: TLSCredentials(
                certificatePEM: Array(keys.certificate.pem.utf8), privateKeyPEM: Array(keys.managerKeyPEM.utf8)))
        configuration.governor = governor
        let server = try ChunkServer(
            configuration: configuration, source: images, authorise: { peer, image in fleet.mayPull(peer, image) },
            verify: { leaf in anchor.verify(leafDER: leaf, at: time.timestamp).flatMap(fleet.admitToChunks) },
            logger: logger,
            counters: TransferCounters())
        return ChunkService(server: server, logger: logger)
    }
}

/// The chunk server as a service.
struct ChunkService: Service {
    let server: ChunkServer
    let logger: Logger

    func run() async throws {
        try server.start()
        try? await gracefulShutdown()
        let server = self.server
        // It joins its threads: not on a cooperative one.
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                server.stop()
                continuation.resume()
            }
        }
    }
}
