/// JSON (RFC 8259) that every YAML 1.1 reader takes too: cloud-init reads it as YAML, where `\/` is an error, where a
/// surrogate pair is two characters, and where some characters may not stand bare.
enum JSONText: CustomStringConvertible {
    case string(String)
    case array([JSONText])
    case object([(String, JSONText)])

    var description: String {
        switch self {
        case .string(let text): Self.quoted(text)
        case .array(let elements): "[" + elements.map(\.description).joined(separator: ", ") + "]"
        case .object(let fields):
            "{" + fields.map { "\(Self.quoted($0.0)): \($0.1)" }.joined(separator: ", ") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var output = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\""
            case "\\": output += "\\\\"
            case "\u{20}"..."\u{7E}": output.unicodeScalars.append(scalar)
            // Line ends of Unicode and the byte order mark mean something to YAML.
            case "\u{2028}", "\u{2029}", "\u{FEFF}": output += escape(scalar)
            case "\u{A0}"..."\u{D7FF}", "\u{E000}"..."\u{FFFD}", "\u{10000}"..."\u{10FFFF}":
                output.unicodeScalars.append(scalar)
            default: output += escape(scalar)
            }
        }
        return output + "\""
    }

    private static func escape(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
    }
}
