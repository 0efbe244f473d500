import ManagerModel

/// Checks a value against a schema and collects everything that is wrong with it, each by its JSON pointer (RFC
/// 6901), so that the sender needs one round to set it all right.
struct SchemaCheck {
    /// More would not be read.
    static let maximumFaults = 50

    private(set) var faults: [Refusal.Field] = []

    static func faults(of value: JSONValue, in schema: Schema) -> [Refusal.Field] {
        var check = SchemaCheck()
        check.check(value, schema, "")
        return check.faults
    }

    private mutating func add(_ pointer: String, _ detail: String) {
        guard faults.count < Self.maximumFaults else { return }
        faults.append(Refusal.Field(pointer: pointer, detail: detail))
    }

    private mutating func check(_ value: JSONValue, _ schema: Schema, _ pointer: String) {
        switch schema {
        case .nullable(let inner):
            if value != .null { check(value, inner, pointer) }
        case .boolean:
            if value.boolean == nil { add(pointer, "must be true or false, not \(Self.kind(value))") }
        case .integer(let range): checkInteger(value, range, pointer)
        case .number(let range):
            guard let number = value.number else { return add(pointer, "must be a number, not \(Self.kind(value))") }
            if !range.contains(number) { add(pointer, "must be from \(range.lowerBound) to \(range.upperBound)") }
        case .string(let rule): checkText(value, rule, pointer)
        case .choice(let words):
            guard let text = value.string else {
                return add(pointer, "must be one of \(words.joined(separator: ", ")), not \(Self.kind(value))")
            }
            if !words.contains(text) { add(pointer, "must be one of \(words.joined(separator: ", "))") }
        case .array(let element, let minimum, let maximum):
            guard let elements = value.array else { return add(pointer, "must be a list, not \(Self.kind(value))") }
            guard elements.count <= maximum else { return add(pointer, "must have at most \(maximum) entries") }
            guard elements.count >= minimum else {
                return add(pointer, "must have at least \(minimum == 1 ? "one entry" : "\(minimum) entries")")
            }
            for (index, item) in elements.enumerated() { check(item, element, "\(pointer)/\(index)") }
        case .map(let element, let maximum): checkMap(value, element, maximum, pointer)
        case .object(let object): checkObject(value, object, pointer)
        case .freeObject:
            if value.members == nil { add(pointer, "must be an object, not \(Self.kind(value))") }
        }
    }

    private mutating func checkInteger(_ value: JSONValue, _ range: ClosedRange<Int64>, _ pointer: String) {
        var integer = value.integer
        if integer == nil, let number = value.number, number == number.rounded(), abs(number) < 9e15 {
            integer = Int64(number)
        }
        guard let integer else { return add(pointer, "must be a whole number, not \(Self.kind(value))") }
        guard range.contains(integer) else {
            let bounds =
                range.upperBound == .max
                ? "at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
            return add(pointer, "must be \(bounds)")
        }
    }

    private mutating func checkText(_ value: JSONValue, _ rule: TextRule, _ pointer: String) {
        guard let text = value.string else { return add(pointer, "must be a text, not \(Self.kind(value))") }
        guard rule.lengths.contains(text.count) else {
            let bounds =
                text.count < rule.lengths.lowerBound
                ? "at least \(rule.lengths.lowerBound)" : "at most \(rule.lengths.upperBound)"
            return add(pointer, "must have \(bounds) character\(bounds.hasSuffix(" 1") ? "" : "s")")
        }
        // A NUL ends strings in the libraries below us.
        if text.unicodeScalars.contains("\0") { return add(pointer, "must not hold the character NUL") }
        if let allows = rule.allows, !allows(text) { add(pointer, rule.wanted ?? "is not acceptable") }
    }

    private mutating func checkMap(_ value: JSONValue, _ element: Schema, _ maximum: Int, _ pointer: String) {
        guard let members = value.members else { return add(pointer, "must be an object, not \(Self.kind(value))") }
        guard members.count <= maximum else { return add(pointer, "must have at most \(maximum) members") }
        for member in members {
            let place = pointer + "/" + Self.escaped(member.name)
            if member.name.isEmpty || member.name.count > 255
                || member.name.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F })
            {
                add(place, "a name must have 1 to 255 characters, none of them a control character")
            }
            check(member.value, element, place)
        }
    }

    private mutating func checkObject(_ value: JSONValue, _ object: ObjectSchema, _ pointer: String) {
        guard let members = value.members else { return add(pointer, "must be an object, not \(Self.kind(value))") }
        let names = object.fields.map(\.name)
        for member in members where !names.contains(member.name) {
            let nearest = Suggestion.nearest(to: member.name, among: names)
            add(
                pointer + "/" + Self.escaped(member.name),
                "is not known here" + (nearest.map { "; did you mean '\($0)'?" } ?? ""))
        }
        for field in object.fields {
            let place = pointer + "/" + Self.escaped(field.name)
            if let member = value[field.name] {
                check(member, field.schema, place)
            } else if field.isRequired {
                add(place, "is missing")
            }
        }
    }

    /// Escapes a name for a pointer, and keeps what outsiders wrote short and on one line.
    private static func escaped(_ name: String) -> String {
        let plain = name.unicodeScalars.prefix(64).map { $0.value < 0x20 || $0.value == 0x7F ? "?" : String($0) }
            .joined()
        return plain.replacing("~", with: "~0").replacing("/", with: "~1")
    }

    private static func kind(_ value: JSONValue) -> String {
        switch value {
        case .null: "null"
        case .boolean: "true or false"
        case .integer, .number: "a number"
        case .string: "a text"
        case .array: "a list"
        case .object: "an object"
        }
    }
}

/// Finds the name that a sender most likely meant.
enum Suggestion {
    static func nearest(to word: String, among candidates: [String]) -> String? {
        let word = Array(word.lowercased().unicodeScalars.prefix(64))
        let ranked = candidates.map { (name: $0, distance: distance(word, Array($0.unicodeScalars))) }
            .min { $0.distance < $1.distance }
        guard let ranked, ranked.distance <= max(1, ranked.name.count / 3) else { return nil }
        return ranked.name
    }

    /// Damerau-Levenshtein in its simple form: swapped neighbours count as one slip.
    private static func distance(_ left: [Unicode.Scalar], _ right: [Unicode.Scalar]) -> Int {
        var rows = [Array(0...right.count)]
        for i in left.indices {
            var row = [i + 1]
            for j in right.indices {
                var best = min(rows[i][j] + (left[i] == right[j] ? 0 : 1), rows[i][j + 1] + 1, row[j] + 1)
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    best = min(best, rows[i - 1][j - 1] + 1)
                }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[left.count][right.count]
    }
}
