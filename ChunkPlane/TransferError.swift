public import ProtocolModel
public import ProtocolTransfer

/// Why a chunk connection, or one request on it, failed.
public enum TransferError: Error, Equatable, Sendable, CustomStringConvertible {
    case credentials(path: String, reason: String)
    case address(String)
    case unreachable(address: String, reason: String)
    case timedOut(doing: String)
    case closed
    case interrupted
    case tls(String)
    case refused(SessionRefusal)
    /// The peer answered with a refusal of this request.
    case notPermitted(String)
    case notHeld(String)
    case notYet
    case manifestDiffers(String)
    case peerFailed(String)
    case manifest(ManifestError)
    case manifestDigestMismatch(expected: ContentDigest, found: ContentDigest)
    case digestMismatch(chunk: Int)
    case undecodable(chunk: Int)
    case protocolViolation(String)
    case listen(address: String, reason: String)

    public var description: String {
        switch self {
        case .credentials(let path, let reason): "\(path) cannot be used for TLS: \(reason)"
        case .address(let address): "'\(address)' is not an address of the form host:port"
        case .unreachable(let address, let reason): "\(address) cannot be reached: \(reason)"
        case .timedOut(let doing): "the peer took too long (\(doing))"
        case .closed: "the peer closed the connection"
        case .interrupted: "the transfer was stopped"
        case .tls(let reason): "TLS failed: \(reason)"
        case .refused(let refusal): refusal.sentence
        case .notPermitted(let sentence): sentence
        case .notHeld(let sentence): sentence
        case .notYet: "the source does not have the chunk yet"
        case .manifestDiffers(let sentence): sentence
        case .peerFailed(let sentence): "the source failed: \(sentence)"
        case .manifest(let error): error.description
        case .manifestDigestMismatch(let expected, let found):
            "the source's manifest has digest \(found) where \(expected) was assigned"
        case .digestMismatch(let chunk): "chunk \(chunk) did not match its digest and was thrown away"
        case .undecodable(let chunk): "chunk \(chunk) could not be decoded and was thrown away"
        case .protocolViolation(let what): "the source broke the protocol: \(what)"
        case .listen(let address, let reason): "cannot listen on \(address): \(reason)"
        }
    }
}
