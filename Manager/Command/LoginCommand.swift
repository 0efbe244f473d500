import ArgumentParser
import Foundation
import RoostClient

struct LoginCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Signs in and keeps the tokens for later commands.",
        discussion: """
            Without a user name, it prints a code and an address: open it in any browser, sign in there and type the code. \
            With a user name, it asks for the password, where the site allows that from here. With an API key, which is for \
            programs, the key's secret is kept and tokens are had with it whenever they are needed.

            The site is the one of ROOST_ENDPOINT and ROOST_CACERT, or the profile's last one. Kept are both, and the \
            tokens, in ~/.config/roost/config.json, which only you can read; a password is not.
            """)

    @Option(name: .shortAndLong, help: "The user name, to sign in with a password.") var username: String?
    @Flag(name: .long, help: "Sign in with a browser, also where a user name is given.") var device = false
    @Option(
        name: .long, help: ArgumentHelp("The ID of an API key; its secret is asked for.", valueName: "id"))
    var apiKey: String?
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Its first line is the password, or the key's secret ('-': standard input); by default it is asked for.",
            valueName: "file"))
    var passwordFile: String?
    @Option(
        name: .long, help: ArgumentHelp("The manager (environment: ROOST_ENDPOINT).", valueName: "https://host:port"))
    var endpoint: String?
    @Option(
        name: .long, help: ArgumentHelp("The site's CA certificate (environment: ROOST_CACERT).", valueName: "file"))
    var caCertificate: String?
    @OptionGroup var options: SiteOptions

    func validate() throws {
        guard apiKey == nil || (username == nil && !device) else {
            throw ValidationError("Give one of --username, --device and --api-key.")
        }
        guard passwordFile == nil || (apiKey ?? username) != nil, passwordFile == nil || !device else {
            throw ValidationError("--password-file goes with --username or --api-key.")
        }
    }

    func run() async throws {
        var environment = ProcessInfo.processInfo.environment
        environment["ROOST_TOKEN"] = nil
        if let endpoint { environment["ROOST_ENDPOINT"] = endpoint }
        if let caCertificate { environment["ROOST_CACERT"] = caCertificate }
        let file = ProfileFile()
        var site = try Site.resolve(profile: options.profile, environment: environment, file: file)
        // Later commands may run in another folder.
        site.authorityPath = site.authorityPath.map { URL(fileURLWithPath: $0).standardizedFileURL.path }
        site.credentials = .none
        let target = site
        let printer = options.printer
        let profile = try await APIClient.with(site, file: file) { client in
            try await client.explaining { try await signIn(client.roost, target, printer) }
        }
        try await file.locked { file in
            var profiles = try file.read()
            profiles[target.profileName] = profile
            try file.write(profiles)
        }
        try await greet(target, file, printer)
    }

    private func signIn(_ roost: RoostClient, _ site: Site, _ printer: Printer) async throws -> Profile {
        var profile = Profile(endpoint: site.endpoint, authorityPath: site.authorityPath)
        if let apiKey {
            let secret = try Password.read(file: passwordFile, prompt: "Secret of \(apiKey): ")
            profile.accessToken = try await roost.oauth.signIn(keyID: apiKey, secret: secret).accessToken
            profile.apiKey = .init(id: apiKey, secret: secret)
            return profile
        }
        let tokens = try await signInPerson(roost, printer)
        (profile.accessToken, profile.refreshToken) = (tokens.accessToken, tokens.refreshToken)
        return profile
    }

    private func signInPerson(_ roost: RoostClient, _ printer: Printer) async throws -> OAuthTokens {
        guard let username, !device else { return try await DeviceLogin(roost, printer).run() }
        let password = try Password.read(file: passwordFile, prompt: "Password of \(username): ")
        do {
            return try await roost.oauth.signIn(name: username, password: password)
        } catch let error as ClientError where error.problem?.code == "unauthorized_client" {
            // Passwords are not taken from this network. Where somebody watches, there is another way.
            guard printer.terminal.errorIsTerminal else { throw error }
            printer.note("\(error.description.printable)\nSigning in with a browser instead.")
            return try await DeviceLogin(roost, printer).run()
        }
    }

    /// Says who that is; a token that is good for nothing shows here.
    private func greet(_ site: Site, _ file: ProfileFile, _ printer: Printer) async throws {
        var signedIn = site
        signedIn.credentials = .kept(access: try file.read()[site.profileName]?.accessToken)
        let user = try await APIClient.with(signedIn, file: file) { client in
            do {
                return try await client.get("/v1/users/me")
            } catch let failure as Failure {
                // A key's scopes may well leave this out.
                guard let apiKey, case .refused(403, _) = failure.kind else { throw failure }
                return ["name": .string("API key \(apiKey)")]
            }
        }
        let name = user["name"].text ?? username ?? "?"
        let profile = site.profileName == Profiles.usualName ? "" : " (profile '\(site.profileName.printable)')"
        printer.note("Signed in to \(site.endpoint) as \(name.printable)\(profile).")
        if user["must_change_password"].isTrue {
            printer.note("The password must be changed before anything else: roost user passwd")
        }
    }
}

/// Signing in with a browser on any device (RFC 8628).
struct DeviceLogin {
    private let roost: RoostClient
    private let printer: Printer

    init(_ roost: RoostClient, _ printer: Printer) {
        self.roost = roost
        self.printer = printer
    }

    func run() async throws -> OAuthTokens {
        let authorization = try await roost.oauth.authorizeDevice()
        for line in Self.instructions(authorization) { Terminal.writeError(line + "\n") }
        printer.progress("waiting until it is allowed there")
        defer { printer.endProgress() }
        do {
            return try await roost.oauth.wait(for: authorization)
        } catch let refusal as DeviceRefusal {
            throw Failure(refusal.description)
        }
    }

    /// Shown also with --quiet: nobody could sign in without them.
    static func instructions(_ authorization: DeviceAuthorization) -> [String] {
        var lines = [
            "To sign in, open \(authorization.verificationAddress.printable)",
            "and type the code \(authorization.userCode.printable)",
        ]
        if let address = authorization.completeAddress { lines.append("or open \(address.printable)") }
        return lines + ["within \(Amount.seconds(authorization.lifetime / .seconds(1)))."]
    }
}

struct LogoutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "Revokes and forgets the kept tokens.",
        discussion: "An API key is forgotten here and goes on to be valid: see 'roost api-key delete'.")
    @OptionGroup var options: SiteOptions

    func run() async throws {
        // Whatever the environment says, this is about the profile and its own site.
        var environment = ProcessInfo.processInfo.environment
        environment["ROOST_TOKEN"] = nil
        environment["ROOST_ENDPOINT"] = nil
        let file = ProfileFile()
        let site = try Site.resolve(profile: options.profile, environment: environment, file: file)
        let token = try await Self.forget(site, in: file)
        guard let token else { return options.printer.note("Signed out.") }
        try await APIClient.with(site, file: file) { client in
            do {
                try await client.explaining { try await client.roost.oauth.revoke(token) }
            } catch let failure as Failure {
                throw Failure(
                    lines: ["error: forgotten here, but not revoked at the manager: \(failure.sentence)"]
                        + failure.lines.dropFirst(), kind: failure.kind)
            }
        }
        options.printer.note("Signed out.")
    }

    /// - Returns: what the site's manager is to revoke.
    static func forget(_ site: Site, in file: ProfileFile) async throws -> String? {
        try await file.locked { file in
            var profiles = try file.read()
            guard var profile = profiles[site.profileName], profile.isSignedIn else {
                throw Failure("nobody is signed in (profile '\(site.profileName)')")
            }
            // Another command was quicker: what is kept of one site is sent to no other.
            guard profile.endpoint == site.endpoint else {
                throw Failure(
                    "profile '\(site.profileName)' was signed in to \(profile.endpoint) meanwhile; nothing was done: "
                        + "say it again to sign out there")
            }
            let token = profile.refreshToken ?? profile.accessToken
            // The address stays, so that the next login needs only the name.
            profile.signOut()
            profiles[site.profileName] = profile
            try file.write(profiles)
            return token
        }
    }
}

struct WhoAmICommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "whoami", abstract: "Shows who is signed in, and where.")
    @OptionGroup var site: SiteOptions

    func run() async throws {
        let file = ProfileFile()
        let target = try Site.resolve(
            profile: site.profile, environment: ProcessInfo.processInfo.environment, file: file)
        try await APIClient.with(target, file: file) { client in
            let user = try await client.get("/v1/users/me")
            let printer = site.printer
            guard printer.format == .table else { return printer.resource(user) }
            let source = if case .fixed = target.credentials { "ROOST_TOKEN" } else { target.profileName }
            printer.resource(
                .object(
                    user.members + [
                        .init(key: "endpoint", value: .string(target.endpoint)),
                        .init(key: "profile", value: .string(source)),
                    ]))
        }
    }
}
