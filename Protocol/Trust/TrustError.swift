/// Why key material or a certificate could not be made or read.
public enum TrustError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A PEM document that should hold `what` does not.
    case unreadable(what: String)
    /// The certificate and the key beside it do not belong together.
    case keyMismatch
    /// The certificate is no site authority's: it must be a CA and name a site.
    case notAnAuthority
    /// A certificate request that cannot be accepted, with the reason.
    case badRequest(String)
    /// Not an IPv4 or IPv6 address.
    case badAddress(String)
    /// The authority's own certificate is outside its time.
    case authorityExpired
    /// The crypto library failed; the text is its own.
    case failed(String)

    /// One sentence that says what to do.
    public var description: String {
        switch self {
        case .unreadable(let what): "\(what) could not be read; restore the file from a backup"
        case .keyMismatch: "the certificate and the private key do not belong together; restore both from one backup"
        case .notAnAuthority: "the certificate is not that of a site authority; check that the right file was named"
        case .badRequest(let why): "the certificate request cannot be accepted: \(why)"
        case .badAddress(let text): "'\(text)' is not an IP address; give it as 192.0.2.1 or 2001:db8::1"
        case .authorityExpired: "the site authority's certificate is outside its time; check this host's clock"
        case .failed(let why): "a certificate could not be made: \(why)"
        }
    }
}
