import Foundation
import HTTPTypes
import ManagerIdentity

/// Who a client says it is: in the header `Authorization`, or in the body (RFC 6749 §2.3.1).
struct OAuthClientAuthentication {
    static let header = Route.Header(
        "Authorization", "Basic, with the ID and the secret of an API key, where the body does not say")

    let id: String?
    let secret: String?

    /// - Throws: `GrantRefusal`, `OAuthAnswer.UnknownClient`
    init(_ call: Call) throws {
        let (bodyID, bodySecret) = (call.body["client_id"]?.string, call.body["client_secret"]?.string)
        guard let header = call.headers[.authorization] else {
            id = bodyID.flatMap { $0.isEmpty ? nil : $0 }
            secret = bodySecret.flatMap { $0.isEmpty ? nil : $0 }
            return
        }
        guard let basic = Self.basic(header) else {
            throw OAuthAnswer.UnknownClient(sentence: "the header Authorization is not that of a client; use Basic")
        }
        // Two ways at once would let each check another (RFC 6749 §2.3).
        guard bodySecret == nil, bodyID == nil || bodyID == basic.id else {
            throw GrantRefusal(.invalidRequest, "the client says who it is in the header and again in the body")
        }
        id = basic.id
        secret = basic.secret.isEmpty ? nil : basic.secret
    }

    /// Reads `Basic`, whose parts are encoded like a form's (RFC 6749 §2.3.1).
    static func basic(_ header: String) -> (id: String, secret: String)? {
        let parts = header.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "basic", let data = Data(base64Encoded: parts[1].trimmed),
            let colon = data.firstIndex(of: UInt8(ascii: ":")),
            let id = FormText.decode(data[..<colon], plusIsSpace: true),
            let secret = FormText.decode(data[data.index(after: colon)...], plusIsSpace: true), !id.isEmpty
        else { return nil }
        return (id, secret)
    }

    func refusal(_ sentence: String) -> OAuthAnswer.UnknownClient { OAuthAnswer.UnknownClient(sentence: sentence) }

    /// A program that people sign in with; none has a secret.
    func publicClient(_ call: Call) async throws -> OAuthClient {
        guard let id else { return OAuthClients.commandLine }
        guard let client = call.services.tokens.clients.find(id), secret == nil else {
            throw refusal("there is no client '\(id.prefix(64))' that people sign in with; use roost if in doubt")
        }
        return client
    }

    /// Whoever asks, where they prove who it is, with the secret of an API key. A public client proves nothing.
    func client(_ call: Call) async throws -> String? {
        guard let id else { return nil }
        guard let secret else {
            _ = try await publicClient(call)
            return nil
        }
        do {
            return try await call.services.tokens.verify(key: id, secret: secret, from: call.address).client
        } catch let error as GrantRefusal where error.code == .invalidClient {
            throw refusal(error.sentence)
        }
    }
}
