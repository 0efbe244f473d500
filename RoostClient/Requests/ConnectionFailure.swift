import AsyncHTTPClient
import NIOCore
import NIOPosix
import NIOSSL

/// Why no answer came, told apart because each asks for something else.
public enum ConnectionFailure: Error, Sendable, Equatable {
    /// Nobody listens: nothing was sent.
    case refused
    /// The name has no address.
    case unknownHost
    /// Connecting took too long.
    case connectTimeout
    /// The certificate was not issued by who is trusted.
    case untrusted
    /// The certificate is for another host.
    case wrongName
    /// What answers does not speak TLS as it should.
    case notTLS(String)
    /// The answer took too long.
    case timeout
    /// The connection broke.
    case lost(String)

    init(_ error: any Error) {
        self =
            switch error {
            case let error as HTTPClientError: Self.of(error)
            case let error as NIOConnectionError:
                if error.connectionErrors.isEmpty, error.dnsAError != nil || error.dnsAAAAError != nil {
                    .unknownHost
                } else if error.connectionErrors.contains(where: { $0.error is ChannelError }) {
                    .connectTimeout
                } else {
                    .refused
                }
            case let error as NIOSSLExtraError where error == .failedToValidateHostname: .wrongName
            case let error as NIOSSLError: Self.of(tls: "\(error)")
            case let error as BoringSSLError: Self.of(tls: "\(error)")
            case ChannelError.connectTimeout: .connectTimeout
            case let error as IOError where error.errnoCode == 111: .refused
            default: .lost("\(error)")
            }
    }

    private static func of(_ error: HTTPClientError) -> ConnectionFailure {
        switch error {
        case .connectTimeout: .connectTimeout
        case .deadlineExceeded, .readTimeout, .writeTimeout: .timeout
        case .tlsHandshakeTimeout: .notTLS("no answer to the TLS handshake")
        default: .lost(error.shortDescription)
        }
    }

    private static func of(tls text: String) -> ConnectionFailure {
        if text.contains("CERTIFICATE_VERIFY_FAILED") { return .untrusted }
        return .notTLS(text)
    }

    /// Whether the request surely did nothing yet, so that any may be sent again.
    public var isBeforeRequest: Bool {
        switch self {
        case .refused, .unknownHost, .connectTimeout, .untrusted, .wrongName, .notTLS: true
        case .timeout, .lost: false
        }
    }

    /// Whether another attempt may fare better.
    public var mayPass: Bool {
        switch self {
        case .refused, .connectTimeout, .timeout, .lost: true
        case .unknownHost, .untrusted, .wrongName, .notTLS: false
        }
    }

    /// What to do about it.
    ///
    /// - Parameter authorityFile: whom the certificate was to come from; `nil` for the system's authorities.
    public func sentence(endpoint: String, authorityFile: String?) -> String {
        let trusted = authorityFile.map { "the authority in '\($0)'" } ?? "the system's authorities"
        return switch self {
        case .refused: "nothing answers at \(endpoint); check that roost-manager runs there, and ROOST_ENDPOINT"
        case .unknownHost: "the host of \(endpoint) has no address; check ROOST_ENDPOINT"
        case .connectTimeout:
            "\(endpoint) cannot be reached: connecting took too long; check the network and ROOST_ENDPOINT"
        case .untrusted:
            "the certificate of \(endpoint) was not issued by \(trusted); set ROOST_CACERT to the site's ca.pem"
        case .wrongName: "the certificate of \(endpoint) is for another host; use the name that it was made for"
        case .notTLS(let text): "\(endpoint) does not speak TLS as it should (\(text))"
        case .timeout: "the manager at \(endpoint) did not answer in time"
        case .lost(let text): "the connection to \(endpoint) broke (\(text))"
        }
    }
}
