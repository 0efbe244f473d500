public import AgentManagers
public import Logging
import Foundation
public import NIOCore
public import NIOPosix
import ProtocolMessages
public import ProtocolModel
import ProtocolTrust
public import ProtocolWire
import Synchronization

/// Keeps one session with a manager: dials, introduces itself, carries messages, comes back after every loss.
public final class Uplink: Sendable {
    public struct Configuration: Sendable {
        /// Dialled in turn, with those that a manager names.
        public var managers: [ManagerAddress]
        /// Those that a manager named in an earlier session.
        public var learned: [ManagerAddress]
        public var softwareVersion: String
        public var times: SessionTimes
        public var backoff: Backoff

        public init(
            managers: [ManagerAddress], learned: [ManagerAddress] = [], softwareVersion: String,
            times: SessionTimes = SessionTimes(),
            backoff: Backoff = Backoff(first: .seconds(2), maximum: .seconds(20), jitter: 1)
        ) {
            self.managers = managers
            self.learned = learned
            self.softwareVersion = softwareVersion
            self.times = times
            self.backoff = backoff
        }
    }

    /// A renewal that failed is tried again after this time.
    static let renewalRetry = Duration.seconds(3600)

    let configuration: Configuration
    let delegate: any UplinkDelegate
    let time: any TimeSource
    let logger: Logger
    private let dialer: ManagerDialer
    private let anchor: TrustAnchor
    private let held: Mutex<Held>
    private let round: Mutex<ManagerRound>

    struct Held {
        var identity: EnrolledIdentity
        var renewal: Timestamp
        var renewing: NodeKey?
        /// The refusal that was logged last, so that a fleet of retries does not fill the log.
        var logged: String?
    }

    /// Throws `TrustError` where the identity's files are not usable.
    public init(
        configuration: Configuration, identity: EnrolledIdentity, delegate: any UplinkDelegate,
        time: any TimeSource = SystemTime(), logger: Logger,
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) throws {
        self.configuration = configuration
        self.delegate = delegate
        self.time = time
        self.logger = logger
        self.dialer = ManagerDialer(group: group, timeout: configuration.times.handshake)
        self.anchor = try TrustAnchor(authorityPEM: identity.authorityPEM)
        self.held = Mutex(Held(identity: identity, renewal: try identity.renewal()))
        self.round = Mutex(
            ManagerRound(
                configured: configuration.managers, learned: configuration.learned, backoff: configuration.backoff))
    }

    /// The identity in use: that of `init`, or a renewed one.
    public var identity: EnrolledIdentity { held.withLock { $0.identity } }

    func withHeld<Answer: Sendable>(_ body: (inout Held) -> sending Answer) -> Answer { held.withLock { body(&$0) } }

    /// Runs until its task is cancelled; a session that stands then ends with `shutting_down`.
    public func run() async {
        var random = SystemRandomNumberGenerator()
        while !Task.isCancelled, let address = round.withLock({ $0.next() }) {
            let outcome = await session(with: address)
            let wait = round.withLock { $0.ended(outcome, using: &random) }
            if wait > .zero { try? await Task.sleep(for: wait) }
        }
    }

    /// One attempt, and what came of it.
    private func session(with address: ManagerAddress) async -> ManagerRound.Outcome {
        let channel: ManagerChannel
        do {
            let identity = self.identity
            let certificate = try CertificateEncoding.der(pem: identity.certificatePEM)
            let judge = ManagerJudge(anchor: anchor)
            let time = self.time
            channel = try await dialer.dial(address, identity: (identity.keyPEM, certificate)) { chain in
                guard let leaf = chain.first else { return .failure(.notTrusted(.noCertificate)) }
                return judge.judge(leaf, at: time.timestamp)
            }
        } catch {
            note(JoinError(error as? DialError ?? .handshakeFailed("\(error)"), address).description, address)
            return .failed
        }
        let (end, stood, leader) = await UplinkSession(uplink: self, channel: channel).run()
        switch end {
        case .ours(.shuttingDown): logger.info("session with the manager closed")
        case .ours(let refusal): note(refusal.sentence, address, code: refusal)
        case .theirs(let refusal, let sentence): note(refusal?.sentence ?? sentence, address, code: refusal)
        case .connectionLost, .finished: note("the connection to the manager was lost", address)
        }
        let next = leader.flatMap { ManagerAddress($0) }
        if stood { return .stood(leader: next) }
        return end.refusal == .notLeader ? .notLeader(next) : .failed
    }

    /// Logs why there is no session, once for each new reason.
    private func note(_ reason: String, _ address: ManagerAddress, code: SessionRefusal? = nil) {
        let isNew = held.withLock { held in
            defer { held.logged = reason }
            return held.logged != reason
        }
        var metadata: Logger.Metadata = ["manager": "\(address)", "reason": "\(reason)"]
        if let code { metadata["code"] = "\(code.rawValue)" }
        logger.log(level: isNew ? .warning : .debug, "no session with the manager", metadata: metadata)
    }

    func started(_ welcome: Roost_V1_Welcome) async {
        held.withLock { $0.logged = nil }
        let managers = welcome.managerAddresses.prefix(ManagerRound.limit).compactMap { ManagerAddress($0) }
        if round.withLock({ $0.learn(managers) }) { await delegate.managersLearned(managers) }
        logger.info(
            "session with the manager opened",
            metadata: ["epoch": "\(welcome.sessionEpoch)", "protocol": "\(welcome.protocol)"])
    }
}
