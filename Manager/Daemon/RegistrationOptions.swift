import ManagerIdentity
import ManagerMail
import ManagerModel
import ProcessSettings

enum RegistrationType: String, CaseIterable, Sendable {
    case open
    case whitelist
}

enum NewcomerRole: String, CaseIterable, Sendable {
    case user
    case accountOwner = "account_owner"
}

/// The settings `registration.*` and `mail.*`: how people get to be users, and how they are written to (POR-10 to POR-14).
struct RegistrationOptions: Sendable {
    enum Key {
        static let driver = Setting(
            "registration.driver", ValueKind<Provisioning.Driver>.choice, default: .none,
            "How people become users without the operator: email (they register by it), ldap (they are in the directory and sign in)."
        )
        static let type = Setting(
            "registration.type", .optional(ValueKind<RegistrationType>.choice), default: nil,
            "whitelist: only those on the list may; empty or open: everybody.")
        static let role = Setting(
            "registration.default_role", .optional(ValueKind<NewcomerRole>.choice), default: nil,
            "account_owner: each newcomer gets an account of their own and manages it; empty: a user of registration.account."
        )
        static let account = Setting(
            "registration.account", .text(1...64), default: Account.defaultName, "The account of newcomers.")
        static let linkHours = Setting(
            "registration.link_hours", .integer(1...720), default: 24, "How long mailed links work.")
        static let address = Setting(
            "registration.link_address", .optional(.text(9...255, accepted: "https://host[:port]")), default: nil,
            "Where the links in mail lead; by default where clients reach the API.")
        static let server = Setting(
            "mail.smtp_url", .optional(.text(8...300, accepted: "smtp://host[:port] or smtps://host[:port]")),
            default: nil, "The server that takes mail; without it, no mail is sent.")
        static let startTLS = Setting(
            "mail.starttls", .boolean, default: true,
            "Whether smtp:// begins TLS; a server that cannot then gets no mail.")
        static let user = Setting(
            "mail.user", .optional(.text(1...255)), default: nil, "Who signs in at the mail server.")
        static let passwordFile = Setting(
            "mail.password_file", .optional(.path), default: nil,
            "A file with the password of mail.user that only the manager's user can read.")
        static let from = Setting(
            "mail.from", .optional(.text(3...254, accepted: "an e-mail address")), default: nil,
            "In whose name mail is sent.")
        static let authority = Setting(
            "mail.authority_file", .optional(.path), default: nil,
            "Certificates of the authorities that sign the mail server's; by default the system's.")
    }

    static let declared = [
        Key.driver.declared, Key.type.declared, Key.role.declared, Key.account.declared, Key.linkHours.declared,
        Key.address.declared, Key.server.declared, Key.startTLS.declared, Key.user.declared,
        Key.passwordFile.declared, Key.from.declared, Key.authority.declared,
    ]

    let provisioning: Provisioning
    let linkLifetime: Duration
    /// `nil`: where clients reach the API.
    let linkAddress: String?
    private let reader: SettingsReader

    init(_ reader: SettingsReader) {
        self.reader = reader
        provisioning = Provisioning(
            driver: reader.value(Key.driver), isWhitelistOnly: reader.value(Key.type) == .whitelist,
            makesAccountOwners: reader.value(Key.role) == .accountOwner, account: reader.value(Key.account))
        linkLifetime = .seconds(3600 * reader.value(Key.linkHours))
        linkAddress = reader.value(Key.address).map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 }
    }

    /// `nil` where no mail is sent.
    ///
    /// - Throws: `SiteError` with what is wrong with the settings together.
    func mailServer() throws -> MailServer? {
        guard let url = reader.value(Key.server) else {
            guard provisioning.driver != .email else {
                throw SiteError.files("registration.driver is email, which needs mail.smtp_url and mail.from")
            }
            return nil
        }
        guard let from = reader.value(Key.from).flatMap(MailAddress.init) else {
            throw SiteError.files("mail.from must be a plain e-mail address, such as roost@example.org")
        }
        do {
            var server = try MailServer(
                url: url, startTLS: reader.value(Key.startTLS), sender: from, credentials: credentials())
            server.authorityFile = reader.value(Key.authority)
            return server
        } catch let error as MailError {
            throw SiteError.files("\(error)")
        }
    }

    private func credentials() throws -> MailServer.Credentials? {
        guard let user = reader.value(Key.user) else { return nil }
        guard let path = reader.value(Key.passwordFile) else {
            throw SiteError.files("mail.user needs mail.password_file")
        }
        return .init(user: user, password: try SecretFile.read(path, setting: Key.passwordFile.key))
    }
}
