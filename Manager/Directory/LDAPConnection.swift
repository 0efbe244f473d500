import CLdap
import Glibc
import ProtocolModel

/// What a call of libldap came to, where it was not success.
enum LDAPFailure: Error, Equatable {
    /// The server, rather than the question: another one may answer.
    case server(ServerTrouble.Kind)
    /// The server's answer (RFC 4511 §4.1.9) with its words.
    case answer(code: Int32, text: String)
    /// Something on our side, such as a file that cannot be read.
    case settings(String)
}

/// One connection to one server, in TLS where the server's setting says so. Blocks: for threads of its own.
struct LDAPConnection: ~Copyable {
    private let handle: OpaquePointer
    private let socket: ServerSocket

    /// Connects and, before a word is said, sets up TLS.
    static func open(
        _ server: DirectoryServer, _ settings: DirectorySettings, now: @escaping @Sendable () -> Uptime
    ) throws(LDAPFailure) -> LDAPConnection {
        let socket: ServerSocket
        do throws(ServerSocket.Failure) {
            socket = try ServerSocket(
                host: server.host, port: server.port, deadline: now() + settings.timeout, now: now)
        } catch {
            switch error {
            case .slow: throw .server(.slow)
            case .unreachable(let reason): throw .server(.unreachable(reason))
            }
        }
        var handle: OpaquePointer?
        // The address says whose name the certificate must have.
        guard ldap_init_fd(socket.descriptor, LDAP_PROTO_TCP, server.description, &handle) == LDAP_SUCCESS, let handle
        else {
            socket.release()
            close(socket.descriptor)
            throw .settings("libldap does not take the address \(server)")
        }
        let connection = LDAPConnection(handle: handle, socket: socket)
        try connection.prepare(settings)
        switch server.encryption {
        case .ldaps: try connection.checkTLS(ldap_install_tls(handle), settings)
        case .startTLS: try connection.checkTLS(ldap_start_tls_s(handle, nil, nil), settings)
        case .none: break
        }
        return connection
    }

    deinit {
        socket.release()
        ldap_unbind_ext_s(handle, nil, nil)
    }

    /// Proves who asks from here on (RFC 4513 §5.1.3).
    ///
    /// - Parameter password: not empty: an empty one would be accepted by servers as no proof at all, for any name.
    func bind(as name: String, password: String) throws(LDAPFailure) {
        precondition(!password.isEmpty && !name.isEmpty, "a bind without a name or a password proves nothing")
        var bytes = password.utf8CString
        let code = bytes.withUnsafeMutableBufferPointer { buffer in
            var credential = berval(bv_len: ber_len_t(buffer.count - 1), bv_val: buffer.baseAddress)
            return ldap_sasl_bind_s(handle, name, nil, &credential, nil, nil, nil)
        }
        try check(code)
    }

    /// The entries below `base` (or it alone) that fit the filter, at most `limit`.
    func search(
        _ base: String, below: Bool, filter: String, attributes: [String], limit: Int32
    ) throws(LDAPFailure) -> [DirectoryEntry] {
        var names: [UnsafeMutablePointer<CChar>?] = attributes.map { strdup($0) } + [nil]
        defer { for name in names { free(name) } }
        var result: OpaquePointer?
        let code = ldap_search_ext_s(
            handle, base, below ? ldap_scope_below : ldap_scope_this, filter, &names, 0, nil, nil, nil, limit, &result)
        defer { ldap_msgfree(result) }
        // The entries that fit come with the word that there are more.
        if code != LDAP_SIZELIMIT_EXCEEDED { try check(code) }
        var entries: [DirectoryEntry] = []
        var next = ldap_first_entry(handle, result)
        while let entry = next {
            entries.append(read(entry, attributes))
            next = ldap_next_entry(handle, entry)
        }
        return entries
    }

    private func read(_ entry: OpaquePointer, _ attributes: [String]) -> DirectoryEntry {
        let name = ldap_get_dn(handle, entry)
        defer { ldap_memfree(name) }
        var values: [String: [String]] = [:]
        for attribute in attributes {
            guard let list = ldap_get_values_len(handle, entry, attribute) else { continue }
            defer { ldap_value_free_len(list) }
            var index = 0
            var texts: [String] = []
            while let value = list[index] {
                let bytes = UnsafeRawBufferPointer(start: value.pointee.bv_val, count: Int(value.pointee.bv_len))
                // What is no text, such as a picture, is no value for us.
                if let text = String(validating: bytes, as: UTF8.self) { texts.append(text) }
                index += 1
            }
            values[attribute] = texts
        }
        return DirectoryEntry(dn: name.map { String(cString: $0) } ?? "", values: values)
    }

    /// Everything that libldap would otherwise take from the machine's own files and the environment.
    private func prepare(_ settings: DirectorySettings) throws(LDAPFailure) {
        set(LDAP_OPT_PROTOCOL_VERSION, 3)
        set(LDAP_OPT_DEREF, LDAP_DEREF_NEVER)
        // A server must not send us, and the password, to another one.
        ldap_set_option(handle, LDAP_OPT_REFERRALS, nil)
        set(LDAP_OPT_X_TLS_REQUIRE_CERT, LDAP_OPT_X_TLS_DEMAND)
        set(LDAP_OPT_X_TLS_PROTOCOL_MIN, ldap_tls_1_2)
        let usesSystem = settings.authorityFile == nil && settings.authorityFolder == nil
        set(LDAP_OPT_X_TLS_CACERTFILE, usesSystem ? Self.systemAuthorities : settings.authorityFile)
        set(LDAP_OPT_X_TLS_CACERTDIR, settings.authorityFolder)
        set(LDAP_OPT_X_TLS_CERTFILE, settings.certificateFile)
        set(LDAP_OPT_X_TLS_KEYFILE, settings.keyFile ?? settings.certificateFile)
        var isServer: Int32 = 0
        guard ldap_set_option(handle, LDAP_OPT_X_TLS_NEWCTX, &isServer) == LDAP_OPT_SUCCESS else {
            throw .settings(
                "a file of ldap.cacert_file, ldap.cacert_dir, ldap.cert_file or ldap.key_file cannot be read as PEM")
        }
    }

    private static let systemAuthorities = "/etc/ssl/certs/ca-certificates.crt"

    private func set(_ option: Int32, _ value: Int32) {
        var value = value
        ldap_set_option(handle, option, &value)
    }

    private func set(_ option: Int32, _ value: String?) {
        ldap_set_option(handle, option, value)
    }

    private func checkTLS(_ code: Int32, _ settings: DirectorySettings) throws(LDAPFailure) {
        guard code != LDAP_SUCCESS else { return }
        if socket.isLate { throw .server(.slow) }
        switch code {
        case LDAP_CONNECT_ERROR, LDAP_LOCAL_ERROR:
            let authorities =
                [settings.authorityFile, settings.authorityFolder].compactMap(\.self).joined(separator: " and ")
            throw .server(
                .insecure(
                    "its certificate is not of an authority in "
                        + "\(authorities.isEmpty ? Self.systemAuthorities : authorities), names another host or has "
                        + "expired, or it speaks no TLS 1.2"))
        case LDAP_SERVER_DOWN: throw .server(.unreachable("it closed the connection"))
        default: throw .server(.insecure("it does not begin TLS: \(Self.text(of: code, handle))"))
        }
    }

    private func check(_ code: Int32) throws(LDAPFailure) {
        switch code {
        case LDAP_SUCCESS: return
        case LDAP_SERVER_DOWN, LDAP_CONNECT_ERROR, LDAP_TIMEOUT:
            throw .server(socket.isLate ? .slow : .unreachable("it closed the connection"))
        case LDAP_BUSY, LDAP_UNAVAILABLE: throw .server(.unwilling(Self.text(of: code, handle)))
        default: throw .answer(code: code, text: Self.text(of: code, handle))
        }
    }

    private static func text(of code: Int32, _ handle: OpaquePointer) -> String {
        var words: UnsafeMutablePointer<CChar>?
        ldap_get_option(handle, LDAP_OPT_DIAGNOSTIC_MESSAGE, &words)
        defer { ldap_memfree(words) }
        let meaning = String(cString: ldap_err2string(code))
        guard let words, words.pointee != 0 else { return meaning }
        // A stranger's words for a log line: short, and on one line.
        let text = String(decoding: UnsafeRawBufferPointer(start: words, count: min(300, strlen(words))), as: UTF8.self)
        return meaning + ", " + String(text.map { $0.isNewline ? " " : $0 })
    }
}
