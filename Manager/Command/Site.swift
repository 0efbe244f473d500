import Foundation

/// Which manager, trusted how, and spoken to as whom.
struct Site: Sendable, Equatable {
    enum Credentials: Sendable, Equatable {
        case none
        /// From ROOST_TOKEN: used as it is, and never renewed.
        case fixed(String)
        /// From the profile: renewed with its refresh token.
        case kept(access: String?)
    }

    static let usualEndpoint = "https://localhost:7400"

    var endpoint: String
    var authorityPath: String?
    var credentials: Credentials
    var profileName: String

    /// The environment goes before the profile.
    static func resolve(
        profile chosen: String?, environment: [String: String], file: ProfileFile
    ) throws(Failure) -> Site {
        func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let profiles = try file.read()
        let name = chosen ?? variable("ROOST_PROFILE") ?? profiles.current ?? Profiles.usualName
        let profile = profiles[name]
        let endpoint = try checked(variable("ROOST_ENDPOINT") ?? profile?.endpoint ?? usualEndpoint)
        // The tokens of one site are never sent to another.
        let isOwnSite = profile?.endpoint == endpoint
        let credentials: Credentials =
            if let token = variable("ROOST_TOKEN") {
                .fixed(token)
            } else if let profile, isOwnSite {
                .kept(access: profile.accessToken)
            } else {
                .none
            }
        return Site(
            endpoint: endpoint, authorityPath: variable("ROOST_CACERT") ?? (isOwnSite ? profile?.authorityPath : nil),
            credentials: credentials, profileName: name)
    }

    /// `https://host[:port]` without a path; tokens are not sent in the clear.
    static func checked(_ text: String) throws(Failure) -> String {
        var endpoint = text
        while endpoint.hasSuffix("/") { endpoint.removeLast() }
        guard let parts = URLComponents(string: endpoint), parts.scheme?.lowercased() == "https",
            let host = parts.host, !host.isEmpty, parts.path.isEmpty, parts.query == nil, parts.user == nil
        else {
            throw .usage(
                "'\(text)' is not the address of a manager, such as https://manager.example:7400 (ROOST_ENDPOINT)")
        }
        return endpoint
    }
}
