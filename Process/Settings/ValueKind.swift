/// How a setting's value is written: how text is read, what is accepted, and how a value is shown.
public struct ValueKind<Value: Sendable>: Sendable {
    /// What a person may write, for error messages and the documents: `a number from 1 to 65535`.
    public let accepted: String
    /// The word for the type in the table of settings, such as `integer`.
    public let name: String
    let parse: @Sendable (String) -> Value?
    let render: @Sendable (Value) -> String
    /// Words that come close to what is accepted, for suggestions.
    let words: [String]

    /// - Parameters:
    ///   - parse: the value that a text stands for, or `nil` where it is not accepted.
    ///   - render: the text that `parse` would read as this value.
    public init(
        name: String, accepted: String, words: [String] = [], parse: @escaping @Sendable (String) -> Value?,
        render: @escaping @Sendable (Value) -> String
    ) {
        self.name = name
        self.accepted = accepted
        self.words = words
        self.parse = parse
        self.render = render
    }
}

extension ValueKind where Value == String {
    /// Any text of the given length, without control characters.
    public static func text(_ lengths: ClosedRange<Int> = 1...1024, accepted: String? = nil) -> Self {
        let sentence = accepted ?? (lengths.lowerBound == 0 ? "a text, possibly empty" : "a text")
        return Self(
            name: "text", accepted: sentence,
            parse: { text in
                let isPlain = text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
                return isPlain && lengths.contains(text.count) ? text : nil
            },
            render: { $0 })
    }

    /// An absolute path of the file system.
    public static var path: Self {
        Self(
            name: "path", accepted: "an absolute path, such as /var/lib/roost",
            parse: { text in
                text.hasPrefix("/") && text.utf8.count <= 4096 && !text.unicodeScalars.contains { $0.value < 0x20 }
                    ? text : nil
            }, render: { $0 })
    }
}

extension ValueKind where Value == Int {
    /// A whole number in a range.
    public static func integer(_ range: ClosedRange<Int>) -> Self {
        Self(
            name: "integer", accepted: "a whole number from \(range.lowerBound) to \(range.upperBound)",
            parse: { text in Int(text).flatMap { range.contains($0) ? $0 : nil } }, render: { String($0) })
    }
}

extension ValueKind where Value == Double {
    /// A number in a range, with a point as the decimal mark.
    public static func decimal(_ range: ClosedRange<Double>) -> Self {
        Self(
            name: "decimal", accepted: "a number from \(range.lowerBound) to \(range.upperBound)",
            parse: { text in
                guard let first = text.utf8.first, (48...57).contains(first) || first == UInt8(ascii: "-"),
                    let value = Double(text), value.isFinite, range.contains(value)
                else { return nil }
                return value
            },
            render: { String($0) })
    }
}

extension ValueKind where Value == Bool {
    /// `true` or `false`, and nothing that merely looks like them.
    public static var boolean: Self {
        Self(
            name: "boolean", accepted: "true or false", words: ["true", "false"], parse: { Bool($0) },
            render: { String($0) })
    }
}

extension ValueKind where Value == Duration {
    /// A span of time with a unit: `250ms`, `5s`, `10m`, `24h`, `30d`.
    public static func duration(_ range: ClosedRange<Duration>) -> Self {
        Self(
            name: "duration",
            accepted:
                "a time from \(DurationText.render(range.lowerBound)) to \(DurationText.render(range.upperBound)), "
                + "written with its unit, such as 250ms, 5s, 10m, 24h or 30d",
            parse: { text in DurationText.parse(text).flatMap { range.contains($0) ? $0 : nil } },
            render: DurationText.render)
    }
}

extension ValueKind where Value == [String] {
    /// Texts: a sequence in a file, and separated by commas in a flag or in the environment.
    public static func list(of item: ValueKind<String> = .text(), counts: ClosedRange<Int> = 0...256) -> Self {
        let bounds =
            counts.lowerBound == 0
            ? "at most \(counts.upperBound)" : "\(counts.lowerBound) to \(counts.upperBound)"
        return Self(
            name: "list", accepted: "a list of \(bounds) entries, each \(item.accepted)",
            parse: { text in
                let parts =
                    text.isEmpty
                    ? [] : text.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingSpaces() }
                guard counts.contains(parts.count), parts.allSatisfy({ item.parse($0) != nil }) else { return nil }
                return parts
            },
            render: { $0.joined(separator: ",") })
    }
}

extension ValueKind where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One of the raw values of an enumeration.
    public static var choice: Self {
        let words = Value.allCases.map(\.rawValue)
        return Self(
            name: "choice", accepted: "one of " + words.joined(separator: ", "), words: words,
            parse: { Value(rawValue: $0) }, render: { $0.rawValue })
    }
}

extension ValueKind {
    /// The same kind, where an empty text means that nothing is set.
    public static func optional<Wrapped: Sendable>(_ wrapped: ValueKind<Wrapped>) -> Self where Value == Wrapped? {
        Self(
            name: wrapped.name, accepted: wrapped.accepted + ", or empty for none", words: wrapped.words,
            parse: { text in text.isEmpty ? .some(nil) : wrapped.parse(text).map(Optional.some) },
            render: { $0.map(wrapped.render) ?? "" })
    }
}

extension StringProtocol {
    func trimmingSpaces() -> String {
        var rest = Substring(self)
        while rest.first == " " { rest.removeFirst() }
        while rest.last == " " { rest.removeLast() }
        return String(rest)
    }
}
