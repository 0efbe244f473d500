import ArgumentParser
import Foundation

struct LoginCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Signs in and keeps the tokens for later commands.")

    @Option(name: .shortAndLong, help: "The user name.") var username: String
    @Option(name: .long, help: "A file whose first line is the password; by default it is asked for.") var passwordFile:
        String?
    @OptionGroup var site: SiteOptions

    func run() async throws {
        let password = try Password.read(file: passwordFile, prompt: "Password of \(username): ")
        let environment = ProcessInfo.processInfo.environment
        try await site.withClient { client in
            let answer = try await client.form(
                "/oauth/token", [("grant_type", "password"), ("username", username), ("password", password)])
            guard let token = answer["access_token"].text else { throw Failure("the manager gave no token") }
            let file = ProfileFile()
            let authority = environment["ROOST_CACERT"].map { URL(fileURLWithPath: $0).path }
            try file.update { profiles in
                profiles[site.profileName] = Profile(
                    endpoint: client.address, authorityPath: authority ?? profiles[site.profileName]?.authorityPath,
                    accessToken: token, refreshToken: answer["refresh_token"].text)
            }
            Output.complain("Signed in to \(client.address) as \(username).")
        }
    }
}

struct LogoutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "Revokes and forgets the kept tokens.")

    @OptionGroup var site: SiteOptions

    func run() async throws {
        let file = ProfileFile()
        guard let profile = file.read()[site.profileName] else { throw Failure("nobody is signed in") }
        try await site.withClient { client in
            if let token = profile.refreshToken { _ = try? await client.form("/oauth/revoke", [("token", token)]) }
        }
        try file.update { $0[site.profileName] = nil }
    }
}

/// Reads a password without showing it.
enum Password {
    static func read(file: String?, prompt: String) throws -> String {
        if let file {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8),
                let line = text.split(whereSeparator: \.isNewline).first
            else { throw Failure("cannot read a password from '\(file)'", isUsage: true) }
            return String(line)
        }
        guard isatty(STDIN_FILENO) == 1 else {
            guard let line = readLine() else { throw Failure("no password came on standard input", isUsage: true) }
            return line
        }
        FileHandle.standardError.write(Data(prompt.utf8))
        var saved = termios()
        tcgetattr(STDIN_FILENO, &saved)
        var silent = saved
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
        defer {
            tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved)
            Output.complain("")
        }
        guard let line = readLine(), !line.isEmpty else { throw Failure("no password was given", isUsage: true) }
        return line
    }
}
