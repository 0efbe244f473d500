/// The shape of a value in a request or an answer. Requests are checked against it, the OpenAPI document is written
/// from it, and tests check answers against it: one declaration for all three.
indirect enum Schema: Sendable {
    case boolean
    case integer(ClosedRange<Int64>)
    case number(ClosedRange<Double>)
    case string(TextRule)
    case choice([String])
    case array(Schema, minimum: Int = 0, maximum: Int)
    /// An object with names that the sender chooses.
    case map(Schema, maximum: Int)
    case object(ObjectSchema)
    case nullable(Schema)
    /// An object whose members are not described.
    case freeObject

    static let text = Schema.string(TextRule(lengths: 0...65_536))
    static let count = Schema.integer(0...Int64.max)
    static let identifier = Schema.string(TextRule(lengths: 36...36, format: "uuid"))
    static let time = Schema.string(TextRule(lengths: 20...40, format: "date-time"))
    static let day = Schema.string(TextRule(lengths: 10...10, format: "date"))
    static let amount = Schema.number(0...Double.greatestFiniteMagnitude)
}

/// What a text must be like.
struct TextRule: Sendable {
    /// In characters.
    var lengths: ClosedRange<Int>
    /// As OpenAPI names it.
    var format: String?
    /// A regular expression for the document; `allows` is what is checked.
    var pattern: String?
    /// Says in a sentence what `allows` wants.
    var wanted: String?
    var allows: (@Sendable (String) -> Bool)?
    /// A secret's value is never repeated in an error.
    var isSecret = false

    init(
        lengths: ClosedRange<Int>, format: String? = nil, pattern: String? = nil, wanted: String? = nil,
        isSecret: Bool = false, allows: (@Sendable (String) -> Bool)? = nil
    ) {
        self.lengths = lengths
        self.format = format
        self.pattern = pattern
        self.wanted = wanted
        self.isSecret = isSecret
        self.allows = allows
    }
}

/// An object with a name, which becomes a component of the document.
struct ObjectSchema: Sendable {
    struct Field: Sendable {
        var name: String
        var schema: Schema
        var isRequired: Bool
        var summary: String

        init(_ name: String, _ schema: Schema, required: Bool = false, _ summary: String = "") {
            self.name = name
            self.schema = schema
            self.isRequired = required
            self.summary = summary
        }
    }

    var name: String
    var fields: [Field]

    init(_ name: String, _ fields: [Field]) {
        self.name = name
        self.fields = fields
    }

    /// An object of an answer: all its members are always there.
    static func answer(_ name: String, _ fields: [(String, Schema)]) -> ObjectSchema {
        ObjectSchema(name, fields.map { Field($0.0, $0.1, required: true) })
    }
}

/// Texts that stand in several requests.
extension Schema {
    /// A name that can stand in a path, a table and a host's name without quoting.
    static func name(maximum: Int = 64) -> Schema {
        .string(
            TextRule(
                lengths: 1...maximum, pattern: "^[A-Za-z0-9][A-Za-z0-9._-]*$",
                wanted: "must begin with a letter or digit and hold only letters, digits, '.', '_' and '-'",
                allows: { text in
                    let plain = text.utf8.allSatisfy { byte in
                        switch byte {
                        case 48...57, 65...90, 97...122: true
                        default: byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
                        }
                    }
                    return plain && text.first.map { $0.isLetter || $0.isNumber } == true
                }))
    }

    /// One line for people, without control characters.
    static func line(_ lengths: ClosedRange<Int>) -> Schema {
        .string(
            TextRule(
                lengths: lengths, pattern: "^[^\\x00-\\x1F\\x7F-\\x9F\\u2028\\u2029]*$",
                wanted: "must be one line without control characters",
                allows: { text in
                    text.unicodeScalars.allSatisfy { scalar in
                        switch scalar.value {
                        case 0..<0x20, 0x7F...0x9F, 0x2028, 0x2029: false
                        default: true
                        }
                    }
                }))
    }

    static let hostName = Schema.string(
        TextRule(
            lengths: 1...63, pattern: "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
            wanted: "must be a host name: lower-case letters, digits and '-', not at the ends",
            allows: { text in
                text.utf8.allSatisfy { (48...57).contains($0) || (97...122).contains($0) || $0 == UInt8(ascii: "-") }
                    && text.first != "-" && text.last != "-"
            }))

    static let email = Schema.string(
        TextRule(
            lengths: 3...254, format: "email", wanted: "must be an e-mail address",
            allows: { text in
                let parts = text.split(separator: "@", omittingEmptySubsequences: false)
                return parts.count == 2 && parts.allSatisfy { !$0.isEmpty }
                    && text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0.value != 0x7F }
            }))

    /// A reference to a resource: its ID or its name.
    static let reference = line(1...253)

    /// Names and texts that the user keeps with a resource.
    static let properties = Schema.map(line(0...1024), maximum: 128)

    /// The same in a change (RFC 7396): they are merged with what is there, and `null` removes one, or all.
    static let propertiesPatch = Schema.nullable(.map(.nullable(line(0...1024)), maximum: 128))

    static let password = Schema.string(TextRule(lengths: 0...1024, format: "password", isSecret: true))
}
