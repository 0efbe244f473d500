import ArgumentParser
import Foundation

struct LoginCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Signs in and keeps the tokens for later commands.",
        discussion: """
            The site is the one of ROOST_ENDPOINT and ROOST_CACERT, or the profile's last one. Kept are both, and the \
            tokens, in ~/.config/roost/config.json, which only you can read; the password is not.
            """)

    @Option(name: .shortAndLong, help: "The user name.") var username: String
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Its first line is the password ('-': standard input); by default it is asked for.", valueName: "file"))
    var passwordFile: String?
    @Option(
        name: .long, help: ArgumentHelp("The manager (environment: ROOST_ENDPOINT).", valueName: "https://host:port"))
    var endpoint: String?
    @Option(
        name: .long, help: ArgumentHelp("The site's CA certificate (environment: ROOST_CACERT).", valueName: "file"))
    var caCertificate: String?
    @OptionGroup var options: SiteOptions

    func run() async throws {
        var environment = ProcessInfo.processInfo.environment
        environment["ROOST_TOKEN"] = nil
        if let endpoint { environment["ROOST_ENDPOINT"] = endpoint }
        if let caCertificate { environment["ROOST_CACERT"] = caCertificate }
        let file = ProfileFile()
        var site = try Site.resolve(profile: options.profile, environment: environment, file: file)
        // Later commands may run in another folder.
        site.authorityPath = site.authorityPath.map { URL(fileURLWithPath: $0).standardizedFileURL.path }
        let password = try Password.read(file: passwordFile, prompt: "Password of \(username): ")
        let target = site
        try await APIClient.with(site, file: file) { client in
            let answer = try await client.form(
                "/oauth/token", ["grant_type": "password", "username": username, "password": password])
            guard let token = answer["access_token"].text else { throw Failure("the manager gave no token") }
            try await file.locked { file in
                var profiles = try file.read()
                profiles[target.profileName] = Profile(
                    endpoint: target.endpoint, authorityPath: target.authorityPath, accessToken: token,
                    refreshToken: answer["refresh_token"].text)
                try file.write(profiles)
            }
        }
        options.printer.note("Signed in to \(target.endpoint) as \(username.printable).")
    }
}

struct LogoutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "Revokes and forgets the kept tokens.")
    @OptionGroup var options: SiteOptions

    func run() async throws {
        // Whatever the environment says, this is about the profile and its own site.
        var environment = ProcessInfo.processInfo.environment
        environment["ROOST_TOKEN"] = nil
        environment["ROOST_ENDPOINT"] = nil
        let file = ProfileFile()
        let site = try Site.resolve(profile: options.profile, environment: environment, file: file)
        let refresh: String? = try await file.locked { file in
            var profiles = try file.read()
            guard var profile = profiles[site.profileName], profile.accessToken != nil || profile.refreshToken != nil
            else {
                throw Failure("nobody is signed in (profile '\(site.profileName)')")
            }
            let refresh = profile.refreshToken
            // The address stays, so that the next login needs only the name.
            (profile.accessToken, profile.refreshToken) = (nil, nil)
            profiles[site.profileName] = profile
            try file.write(profiles)
            return refresh
        }
        guard let refresh else { return }
        try await APIClient.with(site, file: file) { client in
            do {
                _ = try await client.form("/oauth/revoke", ["token": refresh])
            } catch let failure as Failure {
                throw Failure(
                    lines: ["error: forgotten here, but not revoked at the manager: \(failure.sentence)"]
                        + failure.lines.dropFirst(), kind: failure.kind)
            }
        }
        options.printer.note("Signed out.")
    }
}
