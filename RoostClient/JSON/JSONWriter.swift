/// Writes JSON: compact for the API, indented for people.
public enum JSONWriter {
    /// Without any white space, members in their order.
    public static func compact(_ value: JSON) -> String {
        var text = ""
        write(value, indent: nil, to: &text)
        return text
    }

    /// One member a line, two spaces deeper at each level.
    public static func indented(_ value: JSON) -> String {
        var text = ""
        write(value, indent: 0, to: &text)
        return text
    }

    private static func write(_ value: JSON, indent: Int?, to text: inout String) {
        switch value {
        case .null: text += "null"
        case .flag(let flag): text += flag ? "true" : "false"
        case .number(let digits): text += digits
        case .string(let string): write(string, to: &text)
        case .array(let items):
            group(items, "[", "]", indent: indent, to: &text) { item, inner, text in
                write(item, indent: inner, to: &text)
            }
        case .object(let members):
            group(members, "{", "}", indent: indent, to: &text) { member, inner, text in
                write(member.key, to: &text)
                text += inner == nil ? ":" : ": "
                write(member.value, indent: inner, to: &text)
            }
        }
    }

    private static func group<Element>(
        _ elements: [Element], _ open: String, _ close: String, indent: Int?, to text: inout String,
        _ one: (Element, Int?, inout String) -> Void
    ) {
        text += open
        let inner = indent.map { $0 + 2 }
        for (index, element) in elements.enumerated() {
            if index > 0 { text += "," }
            newLine(inner, to: &text)
            one(element, inner, &text)
        }
        if !elements.isEmpty { newLine(indent, to: &text) }
        text += close
    }

    private static func newLine(_ indent: Int?, to text: inout String) {
        if let indent { text += "\n" + String(repeating: " ", count: indent) }
    }

    /// What a terminal would obey is escaped: the value stays the same, and the screen is safe.
    private static func write(_ string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _ where scalar.isUnsafeOnTerminal:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}

extension Unicode.Scalar {
    /// Control characters, and those that turn the direction of writing: all lie below U+10000.
    package var isUnsafeOnTerminal: Bool {
        switch value {
        case 0..<0x20, 0x7F..<0xA0, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}
