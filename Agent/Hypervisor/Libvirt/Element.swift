/// A piece of XML that is being built.
struct Element {
    private let name: String
    private let attributes: [(String, String)]
    private let children: [Element]
    private let text: String?

    init(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], text: String? = nil) {
        self.name = name
        self.attributes = attributes.map { ($0.key, $0.value) }
        self.children = []
        self.text = text
    }

    init(
        _ name: String, _ attributes: KeyValuePairs<String, String> = [:], @ElementsBuilder _ children: () -> [Element]
    ) {
        self.name = name
        self.attributes = attributes.map { ($0.key, $0.value) }
        self.children = children()
        self.text = nil
    }

    /// - Parameter attributes: those with a value, in this order.
    init(_ name: String, present attributes: [(String, String?)]) {
        self.name = name
        self.attributes = attributes.compactMap { name, value in value.map { (name, $0) } }
        self.children = []
        self.text = nil
    }

    var rendered: String {
        let opening = attributes.reduce("<" + name) { $0 + " \($1.0)=\"\(Self.escaped($1.1))\"" }
        let content = (text.map(Self.escaped) ?? "") + children.map(\.rendered).joined()
        return content.isEmpty ? opening + "/>" : opening + ">" + content + "</\(name)>"
    }

    /// Escapes what XML 1.0 §2.4 names, and replaces the characters that §2.2 forbids.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&apos;"
            case "\t", "\n", "\r": result += "&#\(scalar.value);"
            case "\u{0}"..."\u{1F}", "\u{FFFE}", "\u{FFFF}": result += "\u{FFFD}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

@resultBuilder
enum ElementsBuilder {
    static func buildExpression(_ element: Element) -> [Element] { [element] }
    static func buildBlock(_ parts: [Element]...) -> [Element] { parts.flatMap { $0 } }
    static func buildOptional(_ part: [Element]?) -> [Element] { part ?? [] }
    static func buildEither(first: [Element]) -> [Element] { first }
    static func buildEither(second: [Element]) -> [Element] { second }
    static func buildExpression(_ elements: [Element]) -> [Element] { elements }
    static func buildArray(_ parts: [[Element]]) -> [Element] { parts.flatMap { $0 } }
}
