public import Logging

/// One event as one logfmt line: `time=… level=… label=… message="…" key=value …`.
///
/// Text that comes from outside (a name, a path, a peer's words) may stand in any value, so a value that is more than
/// plain letters is quoted and everything in it that could end the line or the quote is escaped: no value can forge
/// a field or a line.
public struct LogLine: Sendable {
    /// The longest line, so that one event can flood neither a terminal nor a journal.
    public static let maximumBytes = 8192
    /// The longest single value.
    static let maximumValueBytes = 2048

    private var bytes: [UInt8] = []

    public init(time: String, level: Logger.Level, label: String, message: String, metadata: Logger.Metadata) {
        bytes.reserveCapacity(256)
        add("time", time)
        add("level", level.rawValue)
        add("label", label)
        add("message", message)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            add(key, value)
        }
        if bytes.count > Self.maximumBytes {
            let mark = Array(" truncated=true".utf8)
            cut(to: Self.maximumBytes - mark.count)
            bytes += mark
        }
    }

    /// The line with its newline.
    public var text: [UInt8] { bytes + [UInt8(ascii: "\n")] }

    private mutating func add(_ key: String, _ value: Logger.MetadataValue) {
        switch value {
        case .string(let text): add(key, text)
        case .stringConvertible(let value): add(key, value.description)
        case .array(let values): add(key, values.prefix(64).map { Self.flat($0, depth: 1) }.joined(separator: ","))
        case .dictionary(let values):
            for (inner, value) in values.sorted(by: { $0.key < $1.key }).prefix(64) {
                add("\(key).\(inner)", Self.flat(value, depth: 1))
            }
        }
    }

    /// Nested metadata as one text; what is nested deeper than anybody logs on purpose is left out.
    private static func flat(_ value: Logger.MetadataValue, depth: Int) -> String {
        switch value {
        case .string(let text): text
        case .stringConvertible(let value): value.description
        case .array(let values):
            depth > 4 ? "…" : "[" + values.prefix(64).map { flat($0, depth: depth + 1) }.joined(separator: ",") + "]"
        case .dictionary(let values):
            depth > 4
                ? "…"
                : "{"
                    + values.sorted { $0.key < $1.key }.prefix(64)
                    .map { "\($0.key):\(flat($0.value, depth: depth + 1))" }.joined(separator: ",") + "}"
        }
    }

    private mutating func add(_ key: String, _ value: String) {
        if !bytes.isEmpty { bytes.append(UInt8(ascii: " ")) }
        for byte in key.utf8.prefix(64) {
            bytes.append(Self.isPlain(byte) ? byte : UInt8(ascii: "_"))
        }
        bytes.append(UInt8(ascii: "="))
        let isPlain =
            !value.isEmpty && value.utf8.count <= Self.maximumValueBytes && value.utf8.allSatisfy(Self.isPlain)
        if isPlain {
            bytes += value.utf8
        } else {
            quote(value)
        }
    }

    private mutating func quote(_ value: String) {
        bytes.append(UInt8(ascii: "\""))
        let start = bytes.count
        for scalar in value.unicodeScalars {
            if bytes.count - start > Self.maximumValueBytes {
                bytes += "…".utf8
                break
            }
            switch scalar {
            case "\"": bytes += #"\""#.utf8
            case "\\": bytes += #"\\"#.utf8
            case "\n": bytes += #"\n"#.utf8
            case "\r": bytes += #"\r"#.utf8
            case "\t": bytes += #"\t"#.utf8
            default:
                if Self.isHarmless(scalar) {
                    bytes += String(scalar).utf8
                } else {
                    bytes += "\\u{\(String(scalar.value, radix: 16))}".utf8
                }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Control characters move a terminal's cursor; line separators and direction marks change what a reader sees.
    private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122: true
        case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "/"),
            UInt8(ascii: "@"), UInt8(ascii: "+"), UInt8(ascii: ","), UInt8(ascii: "%"):
            true
        default: false
        }
    }

    /// Cuts at the boundary of a field, so that a cut line still reads as logfmt.
    private mutating func cut(to count: Int) {
        var isQuoted = false
        var isEscaped = false
        var boundary = 0
        for (index, byte) in bytes.prefix(count).enumerated() {
            if isEscaped {
                isEscaped = false
            } else if isQuoted && byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: "\"") {
                isQuoted.toggle()
            } else if byte == UInt8(ascii: " ") && !isQuoted {
                boundary = index
            }
        }
        bytes.removeLast(bytes.count - boundary)
    }
}
