/// Why somebody was not let in. What reaches the caller says no more than they need (SEC-14).
public enum IdentityError: Error, Equatable, CustomStringConvertible {
    /// The name or the password is wrong, or the user is disabled: deliberately not told apart.
    case wrongCredentials
    case tooManyAttempts(retryAfterSeconds: Int)
    case invalidToken(InvalidToken)
    case invalidRefreshToken
    /// Too many passwords wait to be checked.
    case busy
    case passwordRefused(String)
    /// The password is right, and somebody else's rules keep the person out; says which.
    case notAdmitted(String)
    /// Whoever knows the password refuses the person, and does not say whether it is right.
    case refusedElsewhere(String)
    /// Whoever knows the password could not be asked: nothing is known about it.
    case directoryUnavailable(String)
    case malformedPasswordHash
    case keyFile(path: String, reason: String)
    /// A key of the record that signs tokens, by its ID.
    case signingKey(String, String)
    /// A password came from a network from which none is taken.
    case passwordNotTakenHere(address: String)

    public enum InvalidToken: String, Sendable {
        case malformed, expired, notYetValid, wrongIssuer, wrongAudience, unknownUser, disabled, revoked
    }

    public var description: String {
        switch self {
        case .wrongCredentials: "the name or the password is wrong"
        case .tooManyAttempts(let seconds): "too many failed attempts; try again in \(seconds) s"
        case .invalidToken(.expired):
            "the access token has expired; ask for a new one with the refresh token or sign in again"
        case .invalidToken: "the access token is not valid; sign in again"
        case .invalidRefreshToken: "the refresh token is not valid any more; sign in again"
        case .busy: "too many people sign in just now; try again in a few seconds"
        case .passwordRefused(let sentence), .notAdmitted(let sentence), .refusedElsewhere(let sentence),
            .directoryUnavailable(let sentence):
            sentence
        case .malformedPasswordHash: "the stored password cannot be read; set a new one"
        case .signingKey(let id, let reason): "the key \(id) that signs tokens cannot be used: \(reason)"
        case .passwordNotTakenHere(let address):
            "passwords are not taken from \(address); sign in with 'roost login --device' or in the browser, use an API key, "
                + "or ask the operator to add the network to login.allowed_networks"
        case .keyFile(let path, let reason): "the token key \(path) cannot be used: \(reason)"
        }
    }
}
