import Foundation
import ManagerDirectory
import ProcessSettings

/// The settings `ldap.*` (AUT-15 to AUT-29).
struct DirectoryOptions: Sendable {
    enum Key {
        static let hosts = Setting(
            "ldap.hosts", .list(of: .text(1...2048, accepted: DirectoryServer.form)), default: [],
            "The servers of the directory, tried in this order, with spaces or commas between them; none: there is no directory."
        )
        static let timeout = Setting(
            "ldap.timeout", .integer(1...300), default: 5, "Seconds before the next server of ldap.hosts is tried.")
        static let startTLS = Setting(
            "ldap.start_tls", .boolean, default: true, "Whether connections that are not ldaps:// begin TLS.")
        static let allowPlain = Setting(
            "ldap.allow_plain_text", .boolean, default: false,
            "Whether passwords may be sent to other hosts without TLS, for everybody on the way to read.")
        static let certificate = Setting(
            "ldap.cert_file", .optional(.path), default: nil,
            "This manager's TLS certificate, for servers that ask for one; its key may stand in the same file.")
        static let key = Setting("ldap.key_file", .optional(.path), default: nil, "The key of ldap.cert_file.")
        static let authority = Setting(
            "ldap.cacert_file", .optional(.path), default: nil,
            "Certificates of the authorities that sign the servers'; without this and ldap.cacert_dir, the system's.")
        static let authorities = Setting(
            "ldap.cacert_dir", .optional(.path), default: nil, "A folder of certificates of authorities.")
        static let bindName = Setting(
            "ldap.bind_uname", .optional(.text()), default: nil,
            "The name of the entry that people are looked for as; without it, anonymously.")
        static let bindPassword = Setting(
            "ldap.bind_pw", .optional(.text()), default: nil, secret: true,
            "The password of ldap.bind_uname; better in a file of its own, ldap.bind_pw_file.")
        static let bindPasswordFile = Setting(
            "ldap.bind_pw_file", .optional(.path), default: nil,
            "A file with the password of ldap.bind_uname that only the manager's user can read.")
        static let searchBase = Setting(
            "ldap.user_search_dn", .optional(.text()), default: nil,
            "The entry below which people are looked for; or, with %s for the user's name, each one's own entry.")
        static let name = Setting(
            "ldap.uid_attr", .text(1...128), default: "uid", "The attribute with the user's name.")
        static let email = Setting(
            "ldap.mail_attr", .text(1...128), default: "mail", "The attribute with the e-mail address.")
        static let fullName = Setting(
            "ldap.full_name_attr", .text(1...128), default: "cn", "The attribute with the person's name.")
        static let unixName = Setting(
            "ldap.uname_attr", .text(1...128), default: "uid", "The attribute with the name on the site's Unix systems."
        )
        static let group = Setting(
            "ldap.require_group", .optional(.text()), default: nil,
            "The entry of a group whose members alone may sign in.")
        static let otherGroup = Setting(
            "ldap.auth_require_group", .optional(.text()), default: nil, "Another name of ldap.require_group.")
        static let attribute = Setting(
            "ldap.require_attr", .optional(.text(1...128)), default: nil,
            "An attribute without a value of which nobody may sign in.")
    }

    static let declared = [
        Key.hosts.declared, Key.timeout.declared, Key.startTLS.declared, Key.allowPlain.declared,
        Key.certificate.declared, Key.key.declared, Key.authority.declared, Key.authorities.declared,
        Key.bindName.declared, Key.bindPassword.declared, Key.bindPasswordFile.declared, Key.searchBase.declared,
        Key.name.declared, Key.email.declared, Key.fullName.declared, Key.unixName.declared, Key.group.declared,
        Key.otherGroup.declared, Key.attribute.declared,
    ]

    private let reader: SettingsReader

    init(_ reader: SettingsReader) { self.reader = reader }

    /// `nil` where there is no directory.
    ///
    /// - Throws: `SiteError` with what is wrong with the settings together.
    func settings() throws -> DirectorySettings? {
        let hosts = reader.value(Key.hosts).flatMap { $0.split(separator: " ").map(String.init) }
        guard !hosts.isEmpty else { return nil }
        let startTLS = reader.value(Key.startTLS)
        let servers = try hosts.map { host in
            guard let server = DirectoryServer(host, startTLS: startTLS) else {
                throw SiteError.files("ldap.hosts: '\(host)' is not \(DirectoryServer.form)")
            }
            return server
        }
        var attributes = DirectorySettings.Attributes()
        attributes.name = reader.value(Key.name)
        attributes.email = reader.value(Key.email)
        attributes.fullName = reader.value(Key.fullName)
        attributes.unixName = reader.value(Key.unixName)
        do {
            var settings = try DirectorySettings(
                servers: servers, searchBase: reader.value(Key.searchBase) ?? "", attributes: attributes,
                reader: bindUser(), requiredAttribute: reader.value(Key.attribute),
                allowsPlainText: reader.value(Key.allowPlain))
            settings.timeout = .seconds(reader.value(Key.timeout))
            settings.certificateFile = reader.value(Key.certificate)
            settings.keyFile = reader.value(Key.key)
            settings.authorityFile = reader.value(Key.authority)
            settings.authorityFolder = reader.value(Key.authorities)
            settings.requiredGroup = try requiredGroup()
            return settings
        } catch let error as DirectoryError {
            throw SiteError.files("\(error)")
        }
    }

    private func bindUser() throws -> DirectorySettings.Reader? {
        guard let name = reader.value(Key.bindName) else { return nil }
        if let path = reader.value(Key.bindPasswordFile) {
            return .init(name: name, password: try SecretFile.read(path, setting: Key.bindPasswordFile.key))
        }
        return .init(name: name, password: reader.value(Key.bindPassword) ?? "")
    }

    private func requiredGroup() throws -> String? {
        let (one, other) = (reader.value(Key.group), reader.value(Key.otherGroup))
        if let one, let other, one != other {
            throw SiteError.files(
                "ldap.require_group and ldap.auth_require_group mean the same and differ; leave one out")
        }
        return one ?? other
    }
}

/// A file with a secret in it and nothing else.
enum SecretFile {
    /// - Throws: `SiteError` also where others may read it.
    static func read(_ path: String, setting: String) throws -> String {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
            let contents = FileManager.default.contents(atPath: path)
        else { throw SiteError.files("cannot read \(path), which \(setting) names") }
        let mode = (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0
        guard mode & 0o077 == 0 else {
            throw SiteError.files("\(path), which \(setting) names, may be read by others; chmod 600 \(path)")
        }
        // Editors end a file with a line feed; no password does.
        return String(decoding: contents, as: UTF8.self).trimmingCharacters(in: .newlines)
    }
}
