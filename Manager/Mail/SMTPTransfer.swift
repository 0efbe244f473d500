import CCurl
import Glibc

/// One message over one connection, by libcurl. Blocks: for threads of its own.
enum SMTPTransfer {
    /// Once a process, before any thread uses libcurl.
    private static let isReady: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    static func send(_ message: [UInt8], to recipient: MailAddress, through server: MailServer) throws(MailError) {
        guard isReady, let handle = curl_easy_init() else { throw .misconfigured("libcurl does not start") }
        defer { curl_easy_cleanup(handle) }
        let recipients = curl_slist_append(nil, "<\(recipient)>")
        defer { curl_slist_free_all(recipients) }
        prepare(handle, server)
        curl_set_text(handle, CURLOPT_MAIL_FROM, "<\(server.sender)>")
        curl_set_list(handle, CURLOPT_MAIL_RCPT, recipients)
        let words = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
        words.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        defer { words.deallocate() }
        curl_set_text(handle, CURLOPT_ERRORBUFFER, words)
        let code = message.withUnsafeBytes { bytes in
            var source = curl_source(bytes: bytes.bindMemory(to: CChar.self).baseAddress, left: bytes.count)
            return withUnsafeMutablePointer(to: &source) { source in
                curl_set_source(handle, source)
                return curl_easy_perform(handle)
            }
        }
        guard code != CURLE_OK else { return }
        throw failure(code, answer: curl_response_code(handle), words: String(cString: words))
    }

    private static func prepare(_ handle: UnsafeMutableRawPointer, _ server: MailServer) {
        curl_set_text(handle, CURLOPT_URL, server.url)
        curl_set_text(handle, CURLOPT_PROTOCOLS_STR, "smtp,smtps")
        // Nothing of the process's environment: no proxy, no signals.
        curl_set_text(handle, CURLOPT_PROXY, "")
        curl_set_number(handle, CURLOPT_NOSIGNAL, 1)
        curl_set_number(handle, CURLOPT_UPLOAD, 1)
        let (seconds, attoseconds) = server.timeout.components
        let milliseconds = Int(seconds * 1000 + attoseconds / 1_000_000_000_000_000)
        curl_set_number(handle, CURLOPT_TIMEOUT_MS, milliseconds)
        curl_set_number(handle, CURLOPT_CONNECTTIMEOUT_MS, min(milliseconds, 10_000))
        curl_set_number(handle, CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        // With STARTTLS asked for, a server that has none gets no mail.
        let level = server.encryption == .none ? CURLUSESSL_NONE : CURLUSESSL_ALL
        curl_set_number(handle, CURLOPT_USE_SSL, Int(level.rawValue))
        if let authorityFile = server.authorityFile { curl_set_text(handle, CURLOPT_CAINFO, authorityFile) }
        if let credentials = server.credentials {
            curl_set_text(handle, CURLOPT_USERNAME, credentials.user)
            curl_set_text(handle, CURLOPT_PASSWORD, credentials.password)
        }
    }

    private static func failure(_ code: CURLcode, answer: Int, words: String) -> MailError {
        let reason = words.isEmpty ? String(cString: curl_easy_strerror(code)) : words
        switch code {
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CONNECT_ERROR, CURLE_USE_SSL_FAILED, CURLE_SSL_CERTPROBLEM,
            CURLE_SSL_CIPHER, CURLE_SSL_INVALIDCERTSTATUS:
            return .insecure(reason)
        case CURLE_SSL_CACERT_BADFILE: return .misconfigured("mail.authority_file cannot be read: \(reason)")
        case CURLE_LOGIN_DENIED:
            return .misconfigured("the mail server does not accept mail.user and its password: \(reason)")
        case CURLE_OPERATION_TIMEDOUT, CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST: return .unavailable(reason)
        default:
            switch answer {
            case 400...499: return .deferred(reason)
            case 500...599: return .refused(reason)
            default: return .unavailable(reason)
            }
        }
    }
}
