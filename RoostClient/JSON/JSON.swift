/// A JSON value as it came: members in their order and numbers in their own digits, so that what is passed on is what the
/// API said and not what this program understood of it.
public enum JSON: Sendable, Equatable {
    case null
    case flag(Bool)
    /// The literal, unparsed: 64-bit counters do not fit a `Double`.
    case number(String)
    case string(String)
    case array([JSON])
    case object([Member])

    /// One member of an object.
    public struct Member: Sendable, Equatable {
        /// Its name.
        public var key: String
        /// What stands there.
        public var value: JSON

        /// A member of that name.
        public init(key: String, value: JSON) {
            self.key = key
            self.value = value
        }
    }

    /// A whole number.
    public static func whole(_ value: Int) -> JSON { .number(String(value)) }
    /// An array of strings.
    public static func texts(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }

    /// The member of that key; `null` where there is none, or where this is no object.
    public subscript(_ key: String) -> JSON {
        guard case .object(let members) = self else { return .null }
        return members.first { $0.key == key }?.value ?? .null
    }

    /// Of an array; empty elsewhere.
    public var items: [JSON] { if case .array(let items) = self { items } else { [] } }
    /// Of an object; empty elsewhere.
    public var members: [Member] { if case .object(let members) = self { members } else { [] } }
    /// Of a string.
    public var text: String? { if case .string(let text) = self { text } else { nil } }
    /// Whether this is `true`.
    public var isTrue: Bool { self == .flag(true) }
    /// Of a number without a fraction that fits.
    public var integer: Int? { if case .number(let digits) = self { Int(digits) } else { nil } }
    /// Of a number, as near as a `Double` comes.
    public var decimal: Double? { if case .number(let digits) = self { Double(digits) } else { nil } }

    /// The same object with a member changed, or added at its end.
    public func setting(_ key: String, to value: JSON) -> JSON {
        var members = members
        if let index = members.firstIndex(where: { $0.key == key }) {
            members[index].value = value
        } else {
            members.append(Member(key: key, value: value))
        }
        return .object(members)
    }

    /// An object of the members that are given.
    public static func present(_ members: KeyValuePairs<String, JSON?>) -> JSON {
        .object(members.compactMap { key, value in value.map { Member(key: key, value: $0) } })
    }

    /// A list as the API writes one.
    public static func list(_ items: [JSON]) -> JSON { ["items": .array(items), "next": .null] }
}

extension JSON: ExpressibleByDictionaryLiteral {
    /// An object with members in this order.
    public init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(elements.map { Member(key: $0.0, value: $0.1) })
    }
}
