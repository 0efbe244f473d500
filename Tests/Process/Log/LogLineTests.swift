import Logging
import Synchronization
import Testing

@testable import ProcessLog

private func line(_ message: String, _ metadata: Logger.Metadata = [:]) -> String {
    let line = LogLine(
        time: "2026-11-21T10:00:00.000Z", level: .info, label: "api", message: message, metadata: metadata)
    return String(decoding: line.text, as: UTF8.self)
}

@Suite("Log lines")
struct LogLineTests {
    @Test("plain values stand bare, others in quotes, metadata in order of its keys")
    func shape() {
        #expect(
            line("request done", ["status": "200", "path": "/v1/nodes", "user": "a b"])
                == "time=2026-11-21T10:00:00.000Z level=info label=api message=\"request done\" "
                + "path=/v1/nodes status=200 user=\"a b\"\n")
        #expect(line("x", ["empty": ""]).hasSuffix("empty=\"\"\n"))
    }

    @Test(
        "no value forges a line or a field",
        arguments: [
            "a\nlevel=error", "a\r\nb", "\" level=error x=\"", "a\\\" level=error", "\u{2028}level=error", "\u{1B}[2J",
            "\u{202E}abc", "\0", "a\u{85}b", "\\",
        ])
    func forging(value: String) {
        let text = line("m", ["name": .string(value), "zz": "end"])
        #expect(text.unicodeScalars.filter { $0.value < 0x20 || $0.value == 0x7F || $0.value == 0x2028 }.count == 1)
        #expect(fields(of: text)?.map(\.key) == ["time", "level", "label", "message", "name", "zz"])
    }

    @Test("keys are made plain")
    func keys() {
        #expect(line("m", ["a b\n\"": "1"]).hasSuffix("a_b__=1\n"))
    }

    @Test("nested metadata becomes fields")
    func nested() {
        #expect(line("m", ["host": ["id": "1", "name": "n"]]).hasSuffix("host.id=1 host.name=n\n"))
        #expect(line("m", ["all": ["a", "b c"]]).hasSuffix("all=\"a,b c\"\n"))
    }

    @Test("a line is bounded and still readable")
    func bounded() {
        let long = String(repeating: "\u{1}x\"", count: 10_000)
        var metadata: Logger.Metadata = [:]
        for index in 0..<50 { metadata["key\(index)"] = .string(long) }
        let text = line(long, metadata)
        #expect(text.utf8.count <= LogLine.maximumBytes + 1)
        #expect(text.hasSuffix(" truncated=true\n"))
        #expect(fields(of: text) != nil)
    }

    @Test("the level of the process is settable, that of a logger wins")
    func level() {
        let lines = Mutex<[String]>([])
        let shared = LogLevel(.info)
        let handler = LogfmtHandler(
            label: "test", level: shared,
            sink: { bytes in lines.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) } }, clock: { "now" })
        var logger = Logger(label: "test") { _ in handler }
        logger.debug("hidden")
        shared.current = .debug
        logger.debug("shown", metadata: ["k": "v"])
        logger.logLevel = .error
        logger.debug("hidden again")
        #expect(lines.withLock { $0 } == ["time=now level=debug label=test message=shown k=v\n"])
    }
}

/// Reads a line back, so that a test can say which fields a reader would see; `nil` where it is not logfmt.
private func fields(of line: String) -> [(key: String, value: String)]? {
    var result: [(String, String)] = []
    var rest = Substring(line)
    guard rest.last == "\n" else { return nil }
    rest.removeLast()
    while !rest.isEmpty {
        guard let equals = rest.firstIndex(of: "=") else { return nil }
        let key = String(rest[..<equals])
        guard !key.contains(" "), !key.contains("\"") else { return nil }
        rest = rest[rest.index(after: equals)...]
        var value = ""
        if rest.first == "\"" {
            rest.removeFirst()
            var isClosed = false
            while let character = rest.popFirst() {
                if character == "\\" {
                    guard let escaped = rest.popFirst() else { return nil }
                    value.append(escaped)
                } else if character == "\"" {
                    isClosed = true
                    break
                } else {
                    value.append(character)
                }
            }
            guard isClosed else { return nil }
        } else {
            while let character = rest.first, character != " " {
                guard character != "\"" else { return nil }
                value.append(character)
                rest.removeFirst()
            }
        }
        result.append((key, value))
        if rest.first == " " { rest.removeFirst() } else if !rest.isEmpty { return nil }
    }
    return result
}
