import CLdap

/// What one server is asked when somebody signs in: who is it, is the password right, may they.
struct SignInQuestions {
    let settings: DirectorySettings

    /// - Parameter password: not empty.
    /// - Throws: `DirectoryError`, or `LDAPFailure.server` where another server should be asked.
    func ask(_ connection: borrowing LDAPConnection, name: String, password: String) throws -> DirectoryPerson {
        if let reader = settings.reader { try identify(connection, as: reader) }
        let entry = try find(name, connection)
        let person = DirectoryPerson(entry, typed: name, settings.attributes)
        // A reader may see groups that people may not, and people what nobody may see anonymously.
        var isMember = try settings.reader == nil ? nil : belongs(person, connection)
        try prove(entry.dn, password, connection)
        if isMember == nil { isMember = try belongs(person, connection) }
        // Only now: who does not know the password learns nothing.
        try admit(entry, isMember: isMember ?? false)
        return person
    }

    private func identify(_ connection: borrowing LDAPConnection, as reader: DirectorySettings.Reader) throws {
        do {
            try connection.bind(as: reader.name, password: reader.password)
        } catch {
            throw error.asDirectoryError {
                .misconfigured("the directory does not accept ldap.bind_uname and its password: \($1)")
            }
        }
    }

    private func find(_ name: String, _ connection: borrowing LDAPConnection) throws -> DirectoryEntry {
        let isTemplate = settings.searchBase.contains("%s")
        let base = isTemplate ? DirectoryText.entryName(settings.searchBase, name: name) : settings.searchBase
        let attributes = settings.attributes
        let wanted = [attributes.name, attributes.email, attributes.fullName, attributes.unixName]
        let entries: [DirectoryEntry]
        do {
            entries = try connection.search(
                base, below: !isTemplate, filter: DirectoryText.personFilter(attribute: attributes.name, name: name),
                attributes: wanted + (settings.requiredAttribute.map { [$0] } ?? []), limit: 2)
        } catch {
            throw error.asDirectoryError { code, text in
                guard code == LDAP_NO_SUCH_OBJECT else {
                    return .misconfigured("people cannot be looked for below \(base): \(text)")
                }
                if isTemplate { return .wrongCredentials }
                return .misconfigured(
                    "there is no entry \(base), which ldap.user_search_dn names"
                        + (settings.reader == nil ? ", or it is shown to nobody without ldap.bind_uname" : ""))
            }
        }
        guard entries.count < 2 else {
            throw DirectoryError.misconfigured(
                "several entries have the same \(attributes.name); ldap.uid_attr must tell people apart")
        }
        // Without a name of its own, an entry's bind would be nobody's.
        guard let entry = entries.first, !entry.dn.isEmpty else { throw DirectoryError.wrongCredentials }
        return entry
    }

    private func prove(_ entry: String, _ password: String, _ connection: borrowing LDAPConnection) throws {
        do {
            try connection.bind(as: entry, password: password)
        } catch {
            throw error.asDirectoryError { code, text in
                switch code {
                // The second: an entry that has no password.
                case LDAP_INVALID_CREDENTIALS, LDAP_INAPPROPRIATE_AUTH: .wrongCredentials
                case LDAP_CONFIDENTIALITY_REQUIRED, LDAP_STRONG_AUTH_REQUIRED:
                    .misconfigured("the directory takes passwords only over TLS: \(text)")
                default: .refused(text)
                }
            }
        }
    }

    private func belongs(_ person: DirectoryPerson, _ connection: borrowing LDAPConnection) throws -> Bool {
        guard let group = settings.requiredGroup else { return true }
        do {
            return try !connection.search(
                group, below: false,
                filter: DirectoryText.memberFilter(entry: person.dn, unixName: person.unixName ?? person.name),
                attributes: ["1.1"], limit: 1
            ).isEmpty
        } catch {
            throw error.asDirectoryError {
                .misconfigured("the group \(group) of ldap.require_group cannot be read: \($1)")
            }
        }
    }

    private func admit(_ entry: DirectoryEntry, isMember: Bool) throws {
        guard isMember else {
            throw DirectoryError.notEligible(
                "your password is right, but you are not in the group whose members may use this site; ask the operator "
                    + "to have you added")
        }
        if let attribute = settings.requiredAttribute, !entry[attribute].contains(where: { !$0.isEmpty }) {
            throw DirectoryError.notEligible(
                "your password is right, but your entry in the directory has no \(attribute), which this site requires; "
                    + "ask those who run the directory")
        }
    }
}

extension LDAPFailure {
    /// What an answer means here; all else stays what it is.
    fileprivate func asDirectoryError(_ meaning: (Int32, String) -> DirectoryError) -> any Error {
        guard case .answer(let code, let text) = self else { return self }
        return meaning(code, text)
    }
}
