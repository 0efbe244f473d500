import Foundation
import ManagerModel

/// Writes a value for a JSON column; keys are sorted, so that equal values are equal text.
func jsonText(_ value: some Encodable) throws -> String { try encodedText(value) }

private func encodedText(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

// The columns that nearly every request writes. Foundation's encoder takes longer for one of them than SQLite for its row. They
// throw as the general one does, so that a caller need not know which it gets.

func jsonText(_ value: [String: String]) throws -> String {
    guard !value.isEmpty else { return "{}" }
    var text = "{"
    for (key, word) in value.sorted(by: { $0.key < $1.key }) {
        if text.utf8.count > 1 { text += "," }
        appendJSON(key, to: &text)
        text += ":"
        appendJSON(word, to: &text)
    }
    return text + "}"
}

func jsonText(_ value: [String]) throws -> String { list(value) { appendJSON($0, to: &$1) } }

func jsonText(_ value: [ManagerModel.Operation.Step]) throws -> String {
    list(value) { step, text in
        text += #"{"at":\#(step.at),"detail":"#
        appendJSON(step.detail, to: &text)
        text += #","name":"#
        appendJSON(step.name, to: &text)
        text += "}"
    }
}

func jsonText(_ value: [ManagerModel.Operation.HostResult]) throws -> String {
    value.isEmpty ? "[]" : try encodedText(value)
}

func jsonText(_ value: [String: Event.Difference]) throws -> String {
    var text = "{"
    for (field, change) in value.sorted(by: { $0.key < $1.key }) {
        if text.utf8.count > 1 { text += "," }
        appendJSON(field, to: &text)
        text += ":{"
        if let after = change.after {
            text += #""after":"#
            appendJSON(after, to: &text)
        }
        if let before = change.before {
            text += change.after == nil ? #""before":"# : #","before":"#
            appendJSON(before, to: &text)
        }
        text += "}"
    }
    return text + "}"
}

private func list<Element>(_ values: [Element], _ write: (Element, inout String) -> Void) -> String {
    var text = "["
    for (index, value) in values.enumerated() {
        if index > 0 { text += "," }
        write(value, &text)
    }
    return text + "]"
}

/// A string in quotes (RFC 8259 §7).
private func appendJSON(_ value: String, to text: inout String) {
    text += "\""
    if value.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
        text += value
    } else {
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += #"\""#
            case "\\": text += #"\\"#
            case "\n": text += #"\n"#
            case "\r": text += #"\r"#
            case "\t": text += #"\t"#
            case "\u{8}": text += #"\b"#
            case "\u{C}": text += #"\f"#
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                text += #"\u"# + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
    }
    text += "\""
}
