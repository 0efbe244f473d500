import Foundation
import Testing
import TestsSupportDirectory
import TestsSupportMail

/// What an operator sets and does on a manager's host, with the real program.
@Suite("Operators and people")
struct OperatorTests {
    /// Runs a command on the folder of a manager.
    private func command(
        _ manager: ManagerProcess, _ arguments: [String], input: String = ""
    ) throws -> (status: Int32, output: String) {
        let (process, pipe, entrance) = (Process(), Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: ManagerProcess.program)
        process.arguments = arguments + ["--data", manager.folder + "/data"]
        process.standardInput = entrance
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        try entrance.fileHandleForWriting.write(contentsOf: Data(input.utf8))
        try entrance.fileHandleForWriting.close()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    private func signIn(
        _ manager: ManagerProcess, _ name: String, _ password: String
    ) async throws
        -> ManagerProcess.Answer
    {
        let encoded = password.replacing(" ", with: "%20")
        return try await manager.form("/oauth/token", "grant_type=password&username=\(name)&password=\(encoded)")
    }

    @Test("the operator sets a password and lets users in again while the manager runs")
    func passwd() async throws {
        let manager = try await ManagerProcess.start(logLevel: "info")
        let token = try await manager.signIn()
        let made = try await manager.send(
            "POST", "/v1/users", #"{"name":"bob","password":"battery staple"}"#, token: token)
        #expect(made.status == 201)
        let disabled = try await manager.send("PATCH", "/v1/users/bob", #"{"enabled":false}"#, token: token)
        #expect(disabled.status == 200)
        #expect(try command(manager, ["user", "enable", "bob"]).status == 0)
        #expect(try await signIn(manager, "bob", "battery staple").status == 200)
        let set = try command(manager, ["user", "passwd", "admin"], input: "correct horse\n")
        #expect(set.status == 0, "\(set.output)")
        #expect(!set.output.contains("correct horse"))
        #expect(try await signIn(manager, "admin", "correct horse").status == 200)
        // All sessions have ended.
        #expect(try await manager.send("GET", "/v1/users/me", token: token).status == 401)
        let again = try await signIn(manager, "admin", "correct horse")
        let events = try await manager.send("GET", "/v1/events?kind=user.changed", token: again["access_token"])
        #expect(events.body.contains("console"))
        for (arguments, input, word) in [
            (["user", "passwd", "admin"], "short\n", "at least"), (["user", "passwd", "admin"], "", "standard input"),
            (["user", "passwd", "eve"], "correct horse\n", "there is no user 'eve'"),
            (["user", "enable", "eve"], "", "'eve'"),
        ] {
            let answer = try command(manager, arguments, input: input)
            #expect(answer.status == 1 && answer.output.contains(word), "\(answer)")
        }
        let left = try FileManager.default.contentsOfDirectory(atPath: manager.folder + "/data/console")
        #expect(left.isEmpty)
        #expect(try !manager.log.contains("correct horse"))
        _ = try await manager.stop()
        // And while it does not run.
        #expect(try command(manager, ["user", "passwd", "admin"], input: "battery staple\n").status == 0)
        let next = try await manager.again()
        #expect(try await signIn(next, "admin", "battery staple").status == 200)
        _ = try await next.stop()
    }

    @Test("people of the directory sign in, and its absence is told")
    func directory() async throws {
        let slapd = try DirectoryServerProcess()
        let secret = NSTemporaryDirectory() + "roost-bind-\(UUID().uuidString)"
        #expect(
            FileManager.default.createFile(
                atPath: secret, contents: Data("reader password\n".utf8), attributes: [.posixPermissions: 0o600]))
        defer { try? FileManager.default.removeItem(atPath: secret) }
        let manager = try await ManagerProcess.start(
            settings: [
                "ldap.hosts=ldap://127.0.0.1:1 ldap://127.0.0.1:\(slapd.port)", "ldap.cacert_file=\(slapd.authority)",
                "ldap.user_search_dn=dc=example\\,dc=org".replacing("\\,", with: ","),
                "ldap.bind_uname=\(DirectoryServerProcess.reader)",
                "ldap.bind_pw_file=\(secret)", "ldap.require_attr=mail", "registration.driver=ldap",
            ])
        let answer = try await signIn(manager, "alice", "alice password")
        #expect(answer.status == 200, "\(answer)")
        let me = try await manager.send("GET", "/v1/users/me", token: answer["access_token"])
        #expect(me["name"] == "alice" && me["email"] == "alice@example.org" && me["source"] == "directory")
        #expect(try await signIn(manager, "alice", "wrong").status == 400)
        let bob = try await signIn(manager, "bob", "bob password")
        #expect(bob.status == 400 && bob.body.contains("mail"), "\(bob)")
        #expect(try await signIn(manager, "admin", "x").status == 400)
        _ = try await manager.signIn()
        try slapd.stop()
        let away = try await signIn(manager, "alice", "alice password")
        #expect(away.status == 503 && away.body.contains("cannot be reached"), "\(away)")
        _ = try await manager.signIn()
        for word in ["alice password", "bob password", "reader password"] { #expect(try !manager.log.contains(word)) }
        _ = try await manager.stop()
    }

    @Test("somebody registers by mail, and sets a new password by it")
    func mail() async throws {
        let server = try MailServerProcess("plain")
        let manager = try await ManagerProcess.start(
            settings: [
                "mail.smtp_url=smtp://127.0.0.1:\(server.port)", "mail.starttls=false", "mail.from=roost@site.example",
                "registration.driver=email", "registration.type=whitelist",
                "registration.link_address=https://cloud.test",
            ])
        let admin = try await manager.signIn()
        let allowed = try await manager.send(
            "POST", "/v1/registration-whitelist", #"{"pattern":"*@example.org"}"#, token: admin)
        #expect(allowed.status == 201, "\(allowed)")
        let asked = try await manager.send("POST", "/v1/registrations", #"{"email":"ann@example.org"}"#)
        #expect(asked.status == 202 && asked.body.isEmpty)
        let stranger = try await manager.send("POST", "/v1/registrations", #"{"email":"ann@elsewhere.org"}"#)
        #expect(stranger.status == 202 && stranger.body.isEmpty)
        let token = try secret(try server.next())
        let page = try await manager.send("GET", "/account/register?token=\(token)")
        #expect(page.status == 200 && page.body.contains("<form") && page.body.contains(token), "\(page)")
        #expect(page.headers.contains("default-src 'none'"))
        let differing = try await manager.form(
            "/account/register", "token=\(token)&name=ann&full_name=&password=battery%20staple&again=other")
        #expect(differing.status == 400 && differing.body.contains("differ"), "\(differing)")
        let made = try await manager.send(
            "POST", "/v1/registrations/complete",
            #"{"token":"\#(token)","name":"ann","password":"battery staple","full_name":"Ann"}"#)
        #expect(made.status == 201 && made["name"] == "ann", "\(made)")
        #expect(try await signIn(manager, "ann", "battery staple").status == 200)
        let forgotten = try await manager.send("POST", "/v1/password-resets", #"{"email":"ann@example.org"}"#)
        #expect(forgotten.status == 202)
        let second = try secret(try server.next())
        let reset = try await manager.send(
            "POST", "/v1/password-resets/complete", #"{"token":"\#(second)","password":"correct horse"}"#)
        #expect(reset.status == 204, "\(reset)")
        #expect(try await signIn(manager, "ann", "battery staple").status == 400)
        #expect(try await signIn(manager, "ann", "correct horse").status == 200)
        #expect(try await manager.form("/account/reset", "email=ann@example.org").status == 200)
        let third = try secret(try server.next())
        let words = "token=\(third)&password=battery%20staples&again=battery%20staples"
        #expect(try await manager.form("/account/reset", words).body.contains("Your password is set"))
        let again = try await manager.form("/account/reset", words)
        #expect(again.status == 404 && !again.body.contains("name=\"again\""), "\(again)")
        #expect(try await signIn(manager, "ann", "battery staples").status == 200)
        #expect(try await manager.send("GET", "/account/reset?token=\(third)").status == 404)
        #expect(try !manager.log.contains(token) && !manager.log.contains("battery staple"))
        _ = try await manager.stop()
        let record = manager.record()
        #expect(record.range(of: Data(token.utf8)) == nil && record.range(of: Data(second.utf8)) == nil)
    }

    private func secret(_ message: MailServerProcess.Message) throws -> String {
        let rest = try #require(message.text.split(separator: "?token=").dropFirst().first)
        return String(rest.prefix { !$0.isWhitespace })
    }
}
