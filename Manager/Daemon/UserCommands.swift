import ArgumentParser
import Foundation
import Glibc
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel

/// `roost-manager user`: what the operator does for users who cannot sign in, on the manager's host (AUT-11).
struct UserCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "Gives users a new password or lets them in again, without signing in.",
        subcommands: [UserPasswordCommand.self, UserEnableCommand.self])
}

struct UserPasswordCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwd", abstract: "Sets the password of a user, also of admin.",
        discussion: """
            Asks for the password twice, or reads it as a line of standard input; never as an argument, which others on this host \
            could see. Ends all sessions of the user. Works while the manager runs.
            """)

    @OptionGroup var options: SettingsOptions
    @Argument(help: "The user's name.") var name: String

    func run() async throws {
        let settings = try options.read()
        let password = try TerminalPassword.read(for: name)
        let hasher = PasswordHasher()
        let hash: String
        do {
            hash = try await hasher.hash(password, userName: name)
        } catch {
            throw SiteError.files("\(error)")
        }
        await hasher.close()
        try await settings.perform(ConsoleRequest(action: .setPassword, user: name, passwordHash: hash))
        print("the password of \(name) is set, and all sessions of \(name) have ended")
    }
}

struct UserEnableCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enable", abstract: "Lets a user sign in who was disabled, also admin.",
        discussion: "Works while the manager runs.")

    @OptionGroup var options: SettingsOptions
    @Argument(help: "The user's name.") var name: String

    func run() async throws {
        try await options.read().perform(ConsoleRequest(action: .enable, user: name))
        print("\(name) may sign in")
    }
}

extension ManagerSettings {
    /// Does it in the record, or has it done by the manager that holds the record.
    fileprivate func perform(_ request: ConsoleRequest) async throws {
        guard FileManager.default.fileExists(atPath: Site(folder: data).authorityPath) else {
            throw SiteError.absent(data)
        }
        let store: Store
        do {
            store = try Store(storeLocation())
        } catch StoreError.inUse {
            return try await ConsoleFolder(data: data).ask(request)
        }
        defer { store.close() }
        let now = SystemTime().timestamp
        do {
            try await store.write { sql in try request.perform(at: now, in: sql) }
        } catch let refusal as Refusal {
            throw SiteError.files(refusal.sentence)
        }
    }
}

/// Asks for a new password without showing it.
private enum TerminalPassword {
    static func read(for name: String) throws -> String {
        guard isatty(STDIN_FILENO) == 1 else {
            guard let line = readLine(), !line.isEmpty else {
                throw SiteError.files("no password came on standard input")
            }
            return line
        }
        let password = try ask("New password of \(name): ")
        guard try ask("Again: ") == password else { throw SiteError.files("the two passwords differ") }
        return password
    }

    private static func ask(_ prompt: String) throws -> String {
        FileHandle.standardError.write(Data(prompt.utf8))
        var shown = termios()
        let isTerminal = tcgetattr(STDIN_FILENO, &shown) == 0
        var hidden = shown
        // As getpass(3): an interrupt must not leave the terminal mute, and so counts as no password.
        hidden.c_lflag &= ~tcflag_t(ECHO | ISIG)
        if isTerminal { tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) }
        defer {
            if isTerminal { tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown) }
            FileHandle.standardError.write(Data("\n".utf8))
        }
        guard let line = readLine(), !line.isEmpty, !line.contains("\u{3}") else {
            throw SiteError.files("no password was given")
        }
        return line
    }
}
