/// A JSON value as it came: members in their order and numbers in their own digits, because `-o json` prints what the
/// API said and not what this program understood of it.
enum JSON: Sendable, Equatable {
    case null
    case flag(Bool)
    /// The literal, unparsed: 64-bit counters do not fit a `Double`.
    case number(String)
    case string(String)
    case array([JSON])
    case object([Member])

    struct Member: Sendable, Equatable {
        var key: String
        var value: JSON
    }

    static func whole(_ value: Int) -> JSON { .number(String(value)) }
    static func texts(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }

    subscript(_ key: String) -> JSON {
        guard case .object(let members) = self else { return .null }
        return members.first { $0.key == key }?.value ?? .null
    }

    var items: [JSON] { if case .array(let items) = self { items } else { [] } }
    var members: [Member] { if case .object(let members) = self { members } else { [] } }
    var text: String? { if case .string(let text) = self { text } else { nil } }
    var isTrue: Bool { self == .flag(true) }
    var integer: Int? { if case .number(let digits) = self { Int(digits) } else { nil } }
    var decimal: Double? { if case .number(let digits) = self { Double(digits) } else { nil } }

    /// The same object with a member changed, or added at its end.
    func setting(_ key: String, to value: JSON) -> JSON {
        var members = members
        if let index = members.firstIndex(where: { $0.key == key }) {
            members[index].value = value
        } else {
            members.append(Member(key: key, value: value))
        }
        return .object(members)
    }

    /// An object of the members that are given.
    static func present(_ members: KeyValuePairs<String, JSON?>) -> JSON {
        .object(members.compactMap { key, value in value.map { Member(key: key, value: $0) } })
    }

    /// A list as the API writes one.
    static func list(_ items: [JSON]) -> JSON { ["items": .array(items), "next": .null] }
}

extension JSON: ExpressibleByDictionaryLiteral {
    init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(elements.map { Member(key: $0.0, value: $0.1) })
    }
}
