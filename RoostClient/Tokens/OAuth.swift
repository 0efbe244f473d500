/// The grants of the token endpoint for people, and what ends a session.
public struct OAuth: Sendable {
    /// The client that every site knows, for programs that keep no secret (RFC 6749 §2.1).
    public static let publicClient = "roost"

    let client: RoostClient

    /// Signs in with a password. Sites allow this from chosen networks alone.
    public func signIn(name: String, password: String) async throws -> OAuthTokens {
        try OAuthTokens(
            await client.form(
                "/oauth/token",
                [
                    ("grant_type", "password"), ("username", name), ("password", password),
                    ("client_id", Self.publicClient),
                ]))
    }

    /// Signs in with an API key.
    public func signIn(keyID: String, secret: String, scope: String? = nil) async throws -> OAuthTokens {
        try await client.exchange.clientCredentials(id: keyID, secret: secret, scope: scope)
    }

    /// Begins to sign in on another device (RFC 8628): show the code and the address, then ``wait(for:sleep:)``.
    public func authorizeDevice(scope: String? = nil) async throws -> DeviceAuthorization {
        try DeviceAuthorization(
            await client.form(
                "/oauth/device_authorization",
                [("client_id", Self.publicClient)] + (scope.map { [("scope", $0)] } ?? [])))
    }

    /// Waits until somebody has allowed the device, or refused it, or the code has run out.
    ///
    /// - Parameter sleep: between two questions.
    public func wait(
        for authorization: DeviceAuthorization,
        sleep: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) async throws -> OAuthTokens {
        var polling = DevicePolling(authorization)
        while true {
            guard let pause = polling.pause() else { throw DeviceRefusal.expired }
            try await sleep(pause)
            do {
                return try OAuthTokens(
                    await client.form(
                        "/oauth/token",
                        [
                            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                            ("device_code", authorization.deviceCode), ("client_id", Self.publicClient),
                        ]))
            } catch let error as ClientError {
                try polling.handle(error)
            }
        }
    }

    /// Ends the session of a refresh token, or an access token before its time (RFC 7009).
    public func revoke(_ token: String) async throws {
        _ = try await client.form("/oauth/revoke", [("token", token), ("client_id", Self.publicClient)])
    }
}

/// What a person needs to allow a device, and the device to go on (RFC 8628 §3.2).
public struct DeviceAuthorization: Sendable, Equatable {
    /// The device's own; not to be shown.
    public var deviceCode: String
    /// What the person types in.
    public var userCode: String
    /// Where.
    public var verificationAddress: String
    /// The same with the code in it, to be clicked on.
    public var completeAddress: String?
    /// Of the code.
    public var lifetime: Duration
    /// Between two questions of the device.
    public var interval: Duration

    /// As the manager gave it.
    public init(
        deviceCode: String, userCode: String, verificationAddress: String, completeAddress: String? = nil,
        lifetime: Duration, interval: Duration = .seconds(5)
    ) {
        self.deviceCode = deviceCode
        self.userCode = userCode
        self.verificationAddress = verificationAddress
        self.completeAddress = completeAddress
        self.lifetime = lifetime
        self.interval = interval
    }

    init(_ document: JSON) throws(ClientError) {
        guard let deviceCode = document["device_code"].text, let userCode = document["user_code"].text,
            let address = document["verification_uri"].text
        else { throw .malformed("the manager gave no device code") }
        self.init(
            deviceCode: deviceCode, userCode: userCode, verificationAddress: address,
            completeAddress: document["verification_uri_complete"].text,
            lifetime: .seconds(document["expires_in"].integer ?? 600),
            interval: .seconds(document["interval"].integer ?? 5))
    }
}

/// Why a device was not let in.
public enum DeviceRefusal: Error, Sendable, Equatable, CustomStringConvertible {
    /// By the person.
    case denied
    /// Nobody decided in time.
    case expired

    /// For people.
    public var description: String {
        switch self {
        case .denied: "signing in was refused on the other device"
        case .expired: "the code has run out; begin again"
        }
    }
}

/// How a device asks whether it was allowed (RFC 8628 §3.5): answers in, pauses out.
struct DevicePolling {
    private var interval: Duration
    private var left: Duration

    init(_ authorization: DeviceAuthorization) {
        interval = max(authorization.interval, .seconds(1))
        left = authorization.lifetime
    }

    /// Until the next question; `nil` once the code has run out.
    mutating func pause() -> Duration? {
        guard left > .zero else { return nil }
        left -= interval
        return interval
    }

    /// - Throws: what ends the waiting.
    mutating func handle(_ error: ClientError) throws {
        switch error {
        case .problem(let problem):
            switch problem.code {
            case "authorization_pending": break
            case "slow_down": interval += .seconds(5)
            case "access_denied": throw DeviceRefusal.denied
            case "expired_token": throw DeviceRefusal.expired
            default:
                // Not refused, but not asked at the right moment: a busy manager.
                guard problem.status == 429 || problem.status == 503 else { throw error }
                interval += .seconds(5)
            }
        case .connection(let failure, _):
            guard failure.mayPass else { throw error }
            interval = min(interval * 2, .seconds(60))
        case .malformed, .invalid, .stillRunning: throw error
        }
    }
}
