/// Reads JSON from outside (RFC 8259), with bounds on everything that costs (P10): the caller bounds the size, this the
/// depth and the number of values. A name that stands twice in an object is refused, since two readers would take
/// different ones.
public struct JSONParser {
    public static let maximumDepth = 32
    public static let maximumValues = 100_000

    public struct Fault: Error, Equatable, CustomStringConvertible {
        /// Bytes from the start.
        public let offset: Int
        public let reason: String

        public var description: String { "\(reason) (at byte \(offset))" }
    }

    private let bytes: [UInt8]
    private var position = 0
    private var values = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    public static func parse(_ bytes: [UInt8]) throws(Fault) -> JSONValue {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw Fault(offset: 0, reason: "the body is not UTF-8")
        }
        var parser = JSONParser(bytes)
        parser.skipSpace()
        let value = try parser.value(depth: 1)
        parser.skipSpace()
        guard parser.position == bytes.count else {
            throw parser.fault("there is something after the end of the document")
        }
        return value
    }

    private func fault(_ reason: String) -> Fault { Fault(offset: position, reason: reason) }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ byte: Unicode.Scalar) -> Bool {
        guard current == UInt8(ascii: byte) else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws(Fault) -> JSONValue {
        guard depth <= Self.maximumDepth else {
            throw fault("the document is nested more than \(Self.maximumDepth) deep")
        }
        values += 1
        guard values <= Self.maximumValues else {
            throw fault("the document has more than \(Self.maximumValues) values")
        }
        switch current {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .boolean(true))
        case UInt8(ascii: "f"): return try word("false", .boolean(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), .some(48...57): return try number()
        case nil: throw fault("the document ends too early")
        default: throw fault("a value was expected")
        }
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(Fault) -> JSONValue {
        guard bytes[position...].starts(with: word.utf8) else { throw fault("a value was expected") }
        position += word.utf8.count
        return value
    }

    private mutating func object(depth: Int) throws(Fault) -> JSONValue {
        position += 1
        var members: [JSONValue.Member] = []
        var names: Set<String> = []
        skipSpace()
        if take("}") { return .object([]) }
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw fault("a member's name in quotes was expected") }
            let name = try string()
            guard names.insert(name).inserted else { throw fault("a name stands twice in the same object") }
            skipSpace()
            guard take(":") else { throw fault("':' was expected") }
            skipSpace()
            members.append(JSONValue.Member(name, try value(depth: depth + 1)))
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw fault("',' or '}' was expected") }
        }
    }

    private mutating func array(depth: Int) throws(Fault) -> JSONValue {
        position += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take("]") { return .array([]) }
        while true {
            skipSpace()
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(elements) }
            guard take(",") else { throw fault("',' or ']' was expected") }
        }
    }

    private mutating func number() throws(Fault) -> JSONValue {
        let start = position
        _ = take("-")
        let first = current
        let whole = digits()
        guard whole > 0, whole == 1 || first != UInt8(ascii: "0") else { throw fault("this is not a number") }
        var isInteger = true
        if take(".") {
            isInteger = false
            guard digits() > 0 else { throw fault("this is not a number") }
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            guard digits() > 0 else { throw fault("this is not a number") }
        }
        guard position - start <= 64 else { throw fault("the number is too long") }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isInteger, let value = Int64(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw fault("the number is too large") }
        return .number(value)
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = current, (48...57).contains(byte) { position += 1 }
        return position - start
    }

    private mutating func string() throws(Fault) -> String {
        position += 1
        var text: [UInt8] = []
        while let byte = current {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): text += try escape()
            case 0..<0x20: throw fault("a control character stands bare in a string")
            default: text.append(byte)
            }
        }
        throw fault("a string has no end")
    }

    private mutating func escape() throws(Fault) -> [UInt8] {
        guard let byte = current else { throw fault("a string has no end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [8]
        case UInt8(ascii: "f"): return [12]
        case UInt8(ascii: "n"): return [10]
        case UInt8(ascii: "r"): return [13]
        case UInt8(ascii: "t"): return [9]
        case UInt8(ascii: "u"):
            var scalar = UInt32(try codeUnit())
            if (0xD800..<0xDC00).contains(scalar) {
                guard take("\\"), take("u") else { throw fault("half of a surrogate pair") }
                let low = UInt32(try codeUnit())
                guard (0xDC00..<0xE000).contains(low) else { throw fault("half of a surrogate pair") }
                scalar = 0x10000 + (scalar - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(scalar) else { throw fault("half of a surrogate pair") }
            return Array(String(Character(scalar)).utf8)
        default: throw fault("an unknown escape in a string")
        }
    }

    private mutating func codeUnit() throws(Fault) -> UInt16 {
        guard position + 4 <= bytes.count else { throw fault("a string has no end") }
        var value: UInt16 = 0
        for byte in bytes[position..<position + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw fault("'\\u' needs four hexadecimal digits")
            }
            value = value << 4 | UInt16(digit)
        }
        position += 4
        return value
    }
}
