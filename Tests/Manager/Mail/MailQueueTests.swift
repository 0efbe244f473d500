import Logging
import ProtocolModel
import ServiceLifecycle
import Testing
import TestsSupportMail

@testable import ManagerMail

/// Against a real SMTP server.
@Suite("Mail by SMTP")
struct MailQueueTests {
    private static let far = Timestamp(milliseconds: 4_000_000_000_000)

    private func message(_ to: String, _ text: String = "Grüße aus dem Wald\nhttps://x/1") throws -> MailMessage {
        MailMessage(
            to: try #require(MailAddress(to)), subject: "Your registration – öffnen", text: text, expiresAt: Self.far)
    }

    private func server(
        _ process: MailServerProcess, _ scheme: String, startTLS: Bool, authority: String? = nil,
        credentials: MailServer.Credentials? = nil
    ) throws -> MailServer {
        var server = try MailServer(
            url: "\(scheme)://127.0.0.1:\(process.port)", startTLS: startTLS,
            sender: #require(MailAddress("roost@site.example")), credentials: credentials)
        server.authorityFile = authority ?? process.authority
        return server
    }

    private func send(_ message: MailMessage, _ server: MailServer) -> MailError? {
        do throws(MailError) {
            let bytes = message.bytes(from: server.sender, at: SystemTime().timestamp, identifier: "1")
            try SMTPTransfer.send(bytes, to: message.to, through: server)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [("plain", "smtp", false), ("starttls", "smtp", true), ("smtps", "smtps", false)])
    func itArrivesAsItWasWritten(_ kind: String, _ scheme: String, _ startTLS: Bool) throws {
        let process = try MailServerProcess(kind)
        let server = try server(process, scheme, startTLS: startTLS)
        #expect(send(try message("ann@example.org"), server) == nil)
        let first = try process.next()
        #expect(first.from == "roost@site.example" && first.to == ["ann@example.org"])
        #expect(first.secure == (kind != "plain"))
        #expect(first.headers["subject"] == "Your registration – öffnen")
        #expect(first.headers["to"] == "ann@example.org" && first.headers["auto-submitted"] == "auto-generated")
        #expect(first.text.replacing("\r\n", with: "\n") == "Grüße aus dem Wald\nhttps://x/1")
        // A line of one point would end the message.
        #expect(send(try message("ann@example.org", "a\n.\nb"), server) == nil)
        #expect(try process.next().text.replacing("\r\n", with: "\n") == "a\n.\nb\n")
    }

    @Test
    func aPasswordIsShown() throws {
        let process = try MailServerProcess("starttls", user: "roost", password: "secret")
        let right = MailServer.Credentials(user: "roost", password: "secret")
        #expect(
            send(try message("ann@example.org"), try server(process, "smtp", startTLS: true, credentials: right)) == nil
        )
        #expect(try process.next().user == "roost")
        let wrong = MailServer.Credentials(user: "roost", password: "wrong")
        let error = send(
            try message("ann@example.org"), try server(process, "smtp", startTLS: true, credentials: wrong))
        guard case .misconfigured(let sentence)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(sentence.contains("mail.user") && !sentence.contains("wrong"))
    }

    /// Links that let people in are told to nobody who cannot prove that they are the mail server.
    @Test(arguments: [("starttls", "smtp", true), ("smtps", "smtps", false)])
    func aStrangersServerGetsNothing(_ kind: String, _ scheme: String, _ startTLS: Bool) throws {
        let process = try MailServerProcess(kind)
        let error = send(
            try message("ann@example.org"),
            try server(process, scheme, startTLS: startTLS, authority: process.stranger))
        guard case .insecure? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test
    func aServerWithoutTLSGetsNothingWhereItIsAskedFor() throws {
        let process = try MailServerProcess("plain")
        let error = send(try message("ann@example.org"), try server(process, "smtp", startTLS: true))
        guard case .insecure? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test
    func troublesAreToldApart() throws {
        let process = try MailServerProcess("plain")
        let server = try server(process, "smtp", startTLS: false)
        #expect(send(try message("no@example.org"), server)?.isTransient == false)
        guard case .deferred? = send(try message("later@example.org"), server) else {
            Issue.record("450 is for now")
            return
        }
        var absent = server
        absent.port = 1
        guard case .unavailable? = send(try message("ann@example.org"), absent) else {
            Issue.record("nobody listens")
            return
        }
    }

    /// What is refused for now is tried again behind the others, what is refused for good holds nobody up, and what is too old is
    /// not sent.
    @Test
    func theQueueGoesOn() async throws {
        let process = try MailServerProcess("plain")
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let queue = MailQueue(
            try server(process, "smtp", startTLS: false),
            backoff: Backoff(first: .milliseconds(1), maximum: .milliseconds(1)),
            deferral: Backoff(first: .seconds(1), maximum: .seconds(1)), time: SystemTime(), logger: logger)
        for address in ["no@example.org", "later@example.org", "old@example.org", "ann@example.org"] {
            var message = try message(address)
            if address.hasPrefix("old") { message.expiresAt = Timestamp(milliseconds: 1) }
            try queue.add(message)
        }
        let group = ServiceGroup(
            configuration: .init(services: [queue], logger: logger))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            #expect(try process.next().to == ["ann@example.org"])
            #expect(try process.next().to == ["later@example.org"])
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    @Test
    func aFullQueueSaysSo() throws {
        let server = try MailServer(
            url: "smtp://127.0.0.1", startTLS: false, sender: #require(MailAddress("roost@site.example")))
        let queue = MailQueue(
            server, limit: 2, time: SystemTime(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        for _ in 0..<2 {
            #expect(!queue.isFull)
            try queue.add(message("ann@example.org"))
        }
        #expect(queue.isFull)
        #expect(throws: MailQueue.Full()) { try queue.add(message("ann@example.org")) }
    }
}
