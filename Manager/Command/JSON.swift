import Foundation

/// A JSON value as it came, for a client that shows more than it understands.
enum JSON: Sendable, Equatable, Codable {
    case null
    case flag(Bool)
    case whole(Int64)
    case real(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    init(bytes: [UInt8]) throws {
        self = try JSONDecoder().decode(JSON.self, from: Data(bytes))
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .flag(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .whole(value)
        } else if let value = try? container.decode(Double.self) {
            self = .real(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSON].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSON].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .flag(let value): try container.encode(value)
        case .whole(let value): try container.encode(value)
        case .real(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    subscript(_ key: String) -> JSON {
        if case .object(let members) = self { return members[key] ?? .null }
        return .null
    }

    var items: [JSON] { if case .array(let items) = self { items } else { [] } }
    var text: String? { if case .string(let text) = self { text } else { nil } }
    var isTrue: Bool { self == .flag(true) }
    var members: [(String, JSON)] {
        if case .object(let members) = self { members.sorted { $0.key < $1.key } } else { [] }
    }
    var number: Double? {
        switch self {
        case .whole(let value): Double(value)
        case .real(let value): value
        default: nil
        }
    }

    /// As one cell of a table.
    var shown: String {
        switch self {
        case .null: "-"
        case .flag(let value): value ? "yes" : "no"
        case .whole(let value): "\(value)"
        case .real(let value): String(format: "%.3f", value)
        case .string(let value): value.printable
        case .array(let items): items.map(\.shown).joined(separator: " ")
        case .object: members.map { "\($0.0)=\($0.1.shown)" }.joined(separator: " ")
        }
    }

    /// Keys sorted, so that two runs print the same.
    var rendered: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "null"
    }
}

extension String {
    /// Without characters that a terminal would obey: names and reasons come from other people.
    var printable: String {
        String(String.UnicodeScalarView(unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }
}
