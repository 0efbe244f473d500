import Foundation
import Glibc
public import ProtocolModel

/// A message of text to one person.
public struct MailMessage: Sendable, Equatable {
    public var to: MailAddress
    /// One line.
    public var subject: String
    public var text: String
    /// After this it is of no use, and is sent no more.
    public var expiresAt: Timestamp

    public init(to: MailAddress, subject: String, text: String, expiresAt: Timestamp) {
        self.to = to
        self.subject = subject
        self.text = text
        self.expiresAt = expiresAt
    }
}

extension MailMessage {
    /// The message as it is sent (RFC 5322, RFC 2045), with line ends of CR LF.
    func bytes(from sender: MailAddress, at now: Timestamp, identifier: String) -> [UInt8] {
        let isPlain = text.utf8.allSatisfy { $0 == 10 || (32...126).contains($0) }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        // RFC 5322 §2.1.1 allows 998 bytes a line.
        let encodes = !isPlain || lines.contains { $0.utf8.count > 900 }
        let headers = [
            "Date: \(Self.date(now))", "From: \(sender)", "To: \(to)", "Subject: \(Self.headerText(subject))",
            "Message-ID: <\(identifier)@\(sender.domain)>", "MIME-Version: 1.0",
            // Nobody's absence is to be told to us (RFC 3834).
            "Auto-Submitted: auto-generated", "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: \(encodes ? "base64" : "7bit")",
        ]
        let options: Data.Base64EncodingOptions = [
            .lineLength76Characters, .endLineWithCarriageReturn, .endLineWithLineFeed,
        ]
        let body =
            encodes
            ? Data(lines.joined(separator: "\r\n").utf8).base64EncodedString(options: options)
            : lines.joined(separator: "\r\n")
        return Array((headers.joined(separator: "\r\n") + "\r\n\r\n" + body + "\r\n").utf8)
    }

    /// Words of a header (RFC 2047); no text gets beyond its line.
    private static func headerText(_ text: String) -> String {
        let line = String(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? " " : Character($0) })
        if line.utf8.allSatisfy({ (32...126).contains($0) }), line.utf8.count < 900 { return line }
        // 75 characters a word at most, and no character cut in two.
        var words: [String] = []
        var word = ""
        for character in line {
            if word.utf8.count + character.utf8.count > 42 {
                words.append(word)
                word = ""
            }
            word.append(character)
        }
        return (words + [word]).map { "=?utf-8?B?\(Data($0.utf8).base64EncodedString())?=" }.joined(separator: "\r\n ")
    }

    /// RFC 5322 §3.3, in UTC.
    private static func date(_ moment: Timestamp) -> String {
        var seconds = time_t(moment.milliseconds / 1000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let two = { (value: Int32) in value < 10 ? "0\(value)" : "\(value)" }
        return "\(days[Int(parts.tm_wday)]), \(parts.tm_mday) \(months[Int(parts.tm_mon)]) \(parts.tm_year + 1900) "
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) +0000"
    }
}
