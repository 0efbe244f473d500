import ProtocolModel
import Testing

@testable import ManagerMail

@Suite("Text of mail")
struct MailTextTests {
    @Test(
        arguments: [
            "a@b", "first.last+tag@sub.example.org", "o'brien@example.org", "1@2.3",
            String(repeating: "a", count: 64) + "@example.org",
        ])
    func addresses(_ text: String) throws {
        #expect(try #require(MailAddress(text)).text == text)
    }

    @Test(
        arguments: [
            "", "a", "@b", "a@", "a@b@c", "a b@c", "a@b c", "a@b\r\nBcc: x@y", "a\n@b", "<a@b>", "a@b>", "a,b@c",
            ".a@b", "a.@b", "a..b@c", "\"a b\"@c", "a@-b", "a@b..c", "ä@b", "a@bücher.example", "a@b\u{0}",
            String(repeating: "a", count: 65) + "@b", "a@" + String(repeating: "b", count: 64), "a@[127.0.0.1]",
        ])
    func whatIsNoAddressIsNone(_ text: String) {
        #expect(MailAddress(text) == nil)
    }

    @Test
    func aMessageHasItsHeadersAndNothingElse() throws {
        let message = MailMessage(
            to: try #require(MailAddress("a@b.example")), subject: "Hello\r\nBcc: everybody@example.org",
            text: "One\n.\nTwo", expiresAt: Timestamp(milliseconds: 0))
        let text = String(
            decoding: message.bytes(
                from: try #require(MailAddress("roost@site.example")), at: Timestamp(milliseconds: 1_800_000_000_000),
                identifier: "1"), as: UTF8.self)
        #expect(
            text == """
                Date: Fri, 15 Jan 2027 08:00:00 +0000\r
                From: roost@site.example\r
                To: a@b.example\r
                Subject: Hello  Bcc: everybody@example.org\r
                Message-ID: <1@site.example>\r
                MIME-Version: 1.0\r
                Auto-Submitted: auto-generated\r
                Content-Type: text/plain; charset=utf-8\r
                Content-Transfer-Encoding: 7bit\r
                \r
                One\r
                .\r
                Two\r

                """)
    }

    @Test
    func serversAreRead() throws {
        let sender = try #require(MailAddress("roost@site.example"))
        func server(_ url: String, startTLS: Bool = true) throws -> MailServer {
            try MailServer(url: url, startTLS: startTLS, sender: sender)
        }
        #expect(try server("smtp://mail.example").url == "smtp://mail.example:25")
        #expect(try server("smtp://mail.example:587/").encryption == .startTLS)
        #expect(try server("smtp://mail.example", startTLS: false).encryption == .none)
        #expect(try server("smtps://[::1]").url == "smtps://[::1]:465")
        for wrong in [
            "", "http://x", "smtp://", "smtp://user:secret@x", "smtp://x/path", "smtp://x:0", "smtp://x?y",
            "smtp://a b",
        ] {
            #expect(throws: MailError.self) { try server(wrong) }
        }
        let credentials = MailServer.Credentials(user: "u", password: "p")
        #expect(throws: MailError.self) {
            try MailServer(url: "smtp://mail.example", startTLS: false, sender: sender, credentials: credentials)
        }
        _ = try MailServer(url: "smtp://127.0.0.1", startTLS: false, sender: sender, credentials: credentials)
    }
}
