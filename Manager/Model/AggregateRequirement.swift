/// What a flavor asks of the metadata of a host's aggregates: one key, and what its value must be (SCH-04).
///
/// A value is compared as it stands, or begins with one of the operators that Nova's extra specs have: `s==` and `s!=` for
/// texts, `==`, `!=`, `=` (at least), `>=` and `<=` for numbers, `<in>` for a part of the text, `<or>` before each of several.
public struct AggregateRequirement: Sendable, Hashable {
    enum Test: Sendable, Hashable {
        case oneOf([String])
        case isNot(String)
        case contains(String)
        case number(Relation, Double)
    }

    enum Relation: String, Sendable {
        case equal = "=="
        case notEqual = "!="
        case atLeast = ">="
        case atMost = "<="

        func holds(_ left: Double, _ right: Double) -> Bool {
            switch self {
            case .equal: left == right
            case .notEqual: left != right
            case .atLeast: left >= right
            case .atMost: left <= right
            }
        }
    }

    public let key: String
    /// As the flavor says it.
    public let text: String
    private let test: Test

    /// - Returns: `nil` where the operator is not known, or what follows it cannot be read.
    public init?(key: String, value: String) {
        guard let test = Self.test(value) else { return nil }
        self.key = key
        text = value
        self.test = test
    }

    /// Operators of Nova's that nobody has asked for yet. They are no values: a flavor with them would fit nowhere.
    private static let unsupported: Set<Substring> = ["<all-in>", "s>=", "s<=", "s>", "s<"]

    private static func test(_ value: String) -> Test? {
        guard let space = value.firstIndex(of: " ") else { return .oneOf([value]) }
        let word = value[..<space]
        let rest = trimmed(value[space...])
        switch word {
        case "s==": return .oneOf([rest])
        case "s!=": return .isNot(rest)
        case "<in>": return rest.isEmpty ? nil : .contains(rest)
        case "<or>":
            let choices = alternatives(rest)
            return choices.contains("") ? nil : .oneOf(choices)
        case "=": return Double(rest).map { .number(.atLeast, $0) }
        case "==", "!=", ">=", "<=":
            guard let relation = Relation(rawValue: String(word)) else { return nil }
            return Double(rest).map { .number(relation, $0) }
        default: return unsupported.contains(word) ? nil : .oneOf([value])
        }
    }

    private static func alternatives(_ text: String) -> [String] {
        var choices: [[Substring]] = [[]]
        for word in text.split(separator: " ") {
            if word == "<or>" { choices.append([]) } else { choices[choices.count - 1].append(word) }
        }
        return choices.map { $0.joined(separator: " ") }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }

    /// Whether a host fits whose aggregates say these values for the key. One that fits is enough. Where none says anything,
    /// `false` is taken as said: a flavor with `gpu=false` needs no aggregate of all the other hosts.
    public func accepts(_ values: [String]) -> Bool {
        values.isEmpty ? text == "false" : values.contains(where: accepts)
    }

    private func accepts(_ value: String) -> Bool {
        switch test {
        case .oneOf(let choices): choices.contains(value)
        case .isNot(let text): value != text
        case .contains(let part): value.contains(part)
        case .number(let relation, let number): Double(value).map { relation.holds($0, number) } ?? false
        }
    }
}
