public import ManagerMail
public import ManagerModel
public import ManagerStore
public import ProtocolModel
import Synchronization

/// Registration by e-mail (POR-11) and new passwords by mailed links.
///
/// Whoever asks learns nothing of who exists: the answer is always the same, and what there is to say goes to the address
/// itself. Asking is limited, so that nobody's mail is flooded.
public struct MailedLinks: Sendable {
    /// What it needs besides the record.
    public struct Settings: Sendable {
        public var provisioning: Provisioning
        /// Where people reach the site: `https://host:port`.
        public var address: String
        /// How long a link works.
        public var lifetime = Duration.seconds(24 * 3600)

        public init(provisioning: Provisioning, address: String) {
            self.provisioning = provisioning
            self.address = address
        }
    }

    /// What a new user says of themselves.
    public struct Introduction: Sendable {
        public var name: String
        public var password: String
        public var fullName: String

        public init(name: String, password: String, fullName: String) {
            self.name = name
            self.password = password
            self.fullName = fullName
        }
    }

    private let settings: Settings
    private let store: Store
    private let hasher: PasswordHasher
    /// `nil`: this site sends no mail.
    private let outlet: (any MailOutlet)?
    private let time: any TimeSource
    private let limiter = Limiter()

    public init(
        _ settings: Settings, store: Store, hasher: PasswordHasher, outlet: (any MailOutlet)?, time: any TimeSource
    ) {
        self.settings = settings
        self.store = store
        self.hasher = hasher
        self.outlet = outlet
        self.time = time
    }

    // MARK: Registration

    /// Mails a link to somebody who wants to become a user; whether it does is nobody else's affair.
    ///
    /// - Throws: `Refusal` where nobody registers by mail here, `IdentityError.tooManyAttempts`, or `.busy`.
    public func askToRegister(email: String, by actor: Actor) async throws {
        guard settings.provisioning.driver == .email else {
            let other =
                settings.provisioning.driver == .ldap
                ? "sign in with the name and password of your directory" : "ask the operator to make you a user"
            throw Refusal(
                .conflict, "nobody registers by e-mail here; \(other)", detailCode: "registration_closed")
        }
        let outlet = try outlet(or: "this site sends no mail, so nobody can register by it; ask the operator")
        let address = try address(email)
        try limit(email, actor)
        let (now, settings) = (time.timestamp, settings)
        let until = now + settings.lifetime
        let message = try await store.write { sql -> MailMessage? in
            let mail = AccountMail(address: settings.address)
            if let user = try sql.registrations.users(withEmail: email, limit: 1).first {
                return mail.registeredAlready(user, to: address, until: until)
            }
            guard try settings.provisioning.admits(email: email, name: nil, in: sql) else { return nil }
            let secret = LinkSecret.fresh()
            try sql.registrations.insert(
                MailedLink(hash: secret.hash, purpose: .registration, email: email, createdAt: now, expiresAt: until))
            try sql.events.append(
                "registration.requested", actor: actor, owner: nil,
                resource: ResourceReference(kind: "registration", id: "", name: email), at: now)
            return mail.registration(secret, to: address, until: until, hours: Self.hours(settings.lifetime))
        }
        try send(message, outlet)
    }

    /// Makes the user whom a link was mailed to.
    ///
    /// - Throws: `Refusal`, `IdentityError.passwordRefused` or `.busy`.
    public func register(
        _ secret: String, as introduction: Introduction, from address: String?, request: String?
    ) async throws -> User {
        let hash = try await check(secret, .registration)
        let encoded = try await hasher.hash(introduction.password, userName: introduction.name)
        let (now, settings) = (time.timestamp, settings)
        return try await store.write { sql in
            let link = try Self.use(hash, .registration, at: now, in: sql)
            guard try sql.registrations.users(withEmail: link.email, limit: 1).isEmpty,
                try settings.provisioning.admits(email: link.email, name: nil, in: sql),
                settings.provisioning.driver == .email
            else { throw Self.unusable }
            var new = UserService.NewUser(name: introduction.name, email: link.email, passwordHash: encoded)
            new.fullName = introduction.fullName
            var actor = Actor.manager
            actor.address = address
            actor.request = request
            return try settings.provisioning.make(new, by: actor, at: now, in: sql)
        }
    }

    // MARK: New passwords

    /// Mails a link to each user with this address; whether there is one is nobody else's affair.
    ///
    /// - Throws: as `askToRegister`.
    public func askForReset(email: String, by actor: Actor) async throws {
        let outlet = try outlet(
            or: "this site sends no mail; ask the operator for a new password, who uses 'roost-manager user passwd'")
        let address = try address(email)
        try limit(email, actor)
        let (now, settings) = (time.timestamp, settings)
        let until = now + settings.lifetime
        let messages = try await store.write { sql -> [MailMessage] in
            let mail = AccountMail(address: settings.address)
            // Several may share one address; a flood of mail is nobody's wish.
            return try sql.registrations.users(withEmail: email, limit: 5).filter(\.enabled).map { user in
                guard user.source == .local else { return mail.passwordElsewhere(user, to: address, until: until) }
                let secret = LinkSecret.fresh()
                try sql.registrations.insert(
                    MailedLink(
                        hash: secret.hash, purpose: .passwordReset, email: email, user: user.id, createdAt: now,
                        expiresAt: until))
                try sql.events.append(
                    "user.password_reset_requested", actor: actor, owner: user.id, resource: user.reference, at: now)
                return mail.reset(secret, user, to: address, until: until, hours: Self.hours(settings.lifetime))
            }
        }
        for message in messages { try send(message, outlet) }
    }

    /// Sets the password of the user whom a link was mailed to; all sessions of that user end.
    ///
    /// - Throws: `Refusal`, `IdentityError.passwordRefused` or `.busy`.
    public func reset(_ secret: String, password: String, from address: String?, request: String?) async throws {
        let hash = try await check(secret, .passwordReset)
        let name = try await store.read { sql in
            try sql.registrations.link(hash)?.user.flatMap { try sql.users.find($0)?.name }
        }
        let encoded = try await hasher.hash(password, userName: name ?? "")
        let now = time.timestamp
        try await store.write { sql in
            let link = try Self.use(hash, .passwordReset, at: now, in: sql)
            guard let user = try link.user.flatMap({ try sql.users.find($0) }), user.enabled, user.source == .local,
                user.email?.lowercased() == link.email.lowercased()
            else { throw Self.unusable }
            let actor = Actor(
                user: user.id, name: user.name, rights: .none, account: user.account, request: request, address: address
            )
            _ = try UserService().change(user, .init(passwordHash: encoded), by: actor, at: now, in: sql)
        }
    }

    // MARK: How

    /// Whether a link can still be used; pages ask before they show a form.
    public func isGood(_ secret: String, for purpose: MailedLink.Purpose) async throws -> Bool {
        do {
            _ = try await check(secret, purpose)
            return true
        } catch is Refusal {
            return false
        }
    }

    /// Before a password is hashed, which costs more than asking.
    private func check(_ secret: String, _ purpose: MailedLink.Purpose) async throws -> ContentDigest {
        let now = time.timestamp
        guard let hash = LinkSecret(secret)?.hash,
            try await store.read({ try $0.registrations.link(hash) })?.isGood(for: purpose, at: now) == true
        else { throw Self.unusable }
        return hash
    }

    private static func use(
        _ hash: ContentDigest, _ purpose: MailedLink.Purpose, at now: Timestamp, in sql: Transaction
    ) throws -> MailedLink {
        guard let link = try sql.registrations.link(hash), link.isGood(for: purpose, at: now) else { throw unusable }
        try sql.registrations.markUsed(hash, at: now)
        return link
    }

    /// Never says why.
    static let unusable = Refusal(
        .invalidRequest, "this link does not work any more: it was used, or is too old; ask for a new one",
        detailCode: "link_not_valid", fields: [.init(pointer: "/token", detail: "is not valid any more")])

    private static let busy = Refusal(.busy, "too much mail waits just now; try again in some minutes")

    private func outlet(or sentence: String) throws -> any MailOutlet {
        guard let outlet else { throw Refusal(.conflict, sentence, detailCode: "mail_not_configured") }
        guard !outlet.isFull else { throw Self.busy }
        return outlet
    }

    private func address(_ text: String) throws -> MailAddress {
        guard let address = MailAddress(text) else {
            throw Refusal(
                .invalidRequest, "mail cannot be sent to this address",
                fields: [.init(pointer: "/email", detail: "must be a plain e-mail address, such as ann@example.org")])
        }
        return address
    }

    private func limit(_ email: String, _ actor: Actor) throws {
        if let wait = limiter.take(email, actor.address ?? "", time.uptime) {
            throw IdentityError.tooManyAttempts(retryAfterSeconds: max(1, Int((wait.milliseconds + 999) / 1000)))
        }
    }

    private func send(_ message: MailMessage?, _ outlet: any MailOutlet) throws {
        guard let message else { return }
        do {
            try outlet.add(message)
        } catch {
            throw Self.busy
        }
    }

    private static func hours(_ lifetime: Duration) -> Int { max(1, Int(lifetime.components.seconds / 3600)) }

    /// Five mails to one address within a short time, then one every ten minutes; and a bound for whoever asks for many.
    private final class Limiter: Sendable {
        private static let endless = AttemptLimiter.Rate(burst: 1_000_000, perSecond: 1_000_000)
        private let perEmail = Mutex(
            AttemptLimiter(
                pairRate: .init(burst: 5, perSecond: 1.0 / 600), addressRate: endless, nameRate: endless))
        private let perAddress = Mutex(
            AttemptLimiter(pairRate: endless, addressRate: .init(burst: 50, perSecond: 0.1), nameRate: endless))

        /// The time to wait; `nil`: none.
        func take(_ email: String, _ address: String, _ now: Uptime) -> Duration? {
            wait(perAddress.withLock { $0.take(name: "", address: address, at: now) })
                ?? wait(perEmail.withLock { $0.take(name: email, address: "", at: now) })
        }

        private func wait(_ verdict: AttemptLimiter.Verdict) -> Duration? {
            switch verdict {
            case .goOn: nil
            case .wait(let wait), .waitUnlessFamiliar(let wait): wait
            }
        }
    }
}
