import ManagerModel

/// `application/x-www-form-urlencoded` text: a query, or the body of a token request.
enum FormText {
    static let maximumPairs = 64

    /// The pairs in order, decoded. `nil` where an escape is broken, the result is not UTF-8, or there are too many.
    static func pairs(_ text: some Sequence<UInt8>) -> [(name: String, value: String)]? {
        let text = Array(text)
        var result: [(String, String)] = []
        for part in text.split(separator: UInt8(ascii: "&")) {
            guard result.count < maximumPairs else { return nil }
            let halves = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decode(halves[0], plusIsSpace: true),
                let value = decode(halves.count > 1 ? halves[1] : [], plusIsSpace: true)
            else { return nil }
            result.append((name, value))
        }
        return result
    }

    /// Takes out `%XX`; `nil` where an escape is broken or the result is not UTF-8.
    static func decode(_ text: some Sequence<UInt8>, plusIsSpace: Bool) -> String? {
        var output: [UInt8] = []
        var iterator = text.makeIterator()
        while let byte = iterator.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(nibble), let low = iterator.next().flatMap(nibble) else {
                    return nil
                }
                output.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: output.append(0x20)
            default: output.append(byte)
            }
        }
        return String(validating: output, as: UTF8.self)
    }

    /// Puts `%XX` for all but unreserved characters (RFC 3986 §2.3).
    static func encode(_ text: String) -> String {
        var output = ""
        for byte in text.utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, 0x2D, 0x2E, 0x5F, 0x7E: output.unicodeScalars.append(Unicode.Scalar(byte))
            default: output += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return output
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }
}

/// One parameter that a route takes in its query.
struct QueryParameter: Sendable {
    var name: String
    var schema: Schema
    var summary: String

    init(_ name: String, _ schema: Schema, _ summary: String) {
        self.name = name
        self.schema = schema
        self.summary = summary
    }

    static let limit = QueryParameter("limit", .integer(1...1000), "How many items a page holds; 100 if not given.")
    static let after = QueryParameter(
        "after",
        .string(
            TextRule(
                lengths: 1...2048, pattern: "^[A-Za-z0-9_-]+$", wanted: "must be the 'next' of the page before",
                allows: { text in
                    text.utf8.allSatisfy {
                        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                            || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
                    }
                })), "Where the page before ended: its `next`.")
    static let page = [limit, after]
}

/// A query that was checked against a route's parameters.
struct Query: Sendable {
    private var values: [String: JSONValue] = [:]

    init() {}

    /// - Throws: `Refusal` naming every parameter that is unknown, repeated or not acceptable.
    ///
    /// - Parameter ignoresUnknown: for those of OAuth (RFC 6749 §3.1).
    init(_ text: String?, parameters: [QueryParameter], ignoresUnknown: Bool = false) throws(Refusal) {
        guard let text, !text.isEmpty else { return }
        guard let pairs = FormText.pairs(text.utf8) else {
            throw Refusal(
                .invalidRequest, "the query is not well-formed: check its %-escapes and how many parameters it has")
        }
        var faults: [Refusal.Field] = []
        for (name, value) in pairs {
            guard let parameter = parameters.first(where: { $0.name == name }) else {
                if ignoresUnknown { continue }
                let nearest = Suggestion.nearest(to: name, among: parameters.map(\.name))
                faults.append(
                    Refusal.Field(
                        pointer: "?" + Self.shown(name),
                        detail: "is not known here" + (nearest.map { "; did you mean '\($0)'?" } ?? "")))
                continue
            }
            guard values[name] == nil else {
                faults.append(Refusal.Field(pointer: "?" + name, detail: "is given twice"))
                continue
            }
            let typed = Self.typed(value, parameter.schema)
            faults += SchemaCheck.faults(of: typed, in: parameter.schema)
                .map { Refusal.Field(pointer: "?" + name, detail: $0.detail) }
            values[name] = typed
        }
        guard faults.isEmpty else {
            let names = faults.prefix(5).map { String($0.pointer.dropFirst()) }.joined(separator: ", ")
            throw Refusal(
                .invalidRequest, "the query has parameters that cannot be accepted: \(names)",
                fields: Array(faults.prefix(SchemaCheck.maximumFaults)))
        }
    }

    subscript(name: String) -> JSONValue? { values[name] }
    func string(_ name: String) -> String? { values[name]?.string }
    func integer(_ name: String) -> Int? { values[name]?.integer.map { Int($0) } }
    func boolean(_ name: String) -> Bool? { values[name]?.boolean }

    /// The text as the type that the schema wants, or as it is, for the check to complain of.
    private static func typed(_ text: String, _ schema: Schema) -> JSONValue {
        switch schema {
        case .integer: Int64(text).map(JSONValue.integer) ?? .string(text)
        case .number: Double(text).map(JSONValue.number) ?? .string(text)
        case .boolean: text == "true" ? true : text == "false" ? false : .string(text)
        default: .string(text)
        }
    }

    private static func shown(_ name: String) -> String {
        name.unicodeScalars.prefix(64).map { $0.value < 0x20 || $0.value == 0x7F ? "?" : String($0) }.joined()
    }
}
