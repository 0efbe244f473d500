import ManagerModel
import ProtocolModel

/// Reads the few forms of JSON that this program writes into columns, without blanks and escapes. Whatever else a column holds
/// is `nil`, for the general decoder to read or to refuse.
struct JSONScanner {
    private let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0

    /// What `read` makes of the whole text.
    static func whole<Value>(_ text: String, _ read: (inout JSONScanner) -> Value?) -> Value? {
        var text = text
        return text.withUTF8 { bytes in
            var scanner = JSONScanner(bytes: bytes)
            guard let value = read(&scanner), scanner.position == bytes.count else { return nil }
            return value
        }
    }

    private init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    /// Takes what is written so, and nothing else.
    private mutating func take(_ text: StaticString) -> Bool {
        guard bytes.count - position >= text.utf8CodeUnitCount else { return false }
        for index in 0..<text.utf8CodeUnitCount where bytes[position + index] != text.utf8Start[index] { return false }
        position += text.utf8CodeUnitCount
        return true
    }

    /// A string in quotes.
    mutating func text() -> String? {
        guard take("\"") else { return nil }
        let start = position
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            guard bytes[position] >= 0x20, bytes[position] != UInt8(ascii: "\\") else { return nil }
            position += 1
        }
        let end = position
        guard take("\"") else { return nil }
        return String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<end]), as: UTF8.self)
    }

    private mutating func integer() -> Int64? {
        let start = position
        if position < bytes.count, bytes[position] == UInt8(ascii: "-") { position += 1 }
        while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
            position += 1
        }
        return Int64(String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self))
    }

    mutating func list<Element>(_ element: (inout JSONScanner) -> Element?) -> [Element]? {
        guard take("[") else { return nil }
        var elements: [Element] = []
        if take("]") { return elements }
        while true {
            guard let next = element(&self) else { return nil }
            elements.append(next)
            if take("]") { return elements }
            guard take(",") else { return nil }
        }
    }

    /// An object whose members are all strings.
    mutating func texts() -> [String: String]? {
        guard take("{") else { return nil }
        var members: [String: String] = [:]
        if take("}") { return members }
        while true {
            guard let key = text(), take(":"), let value = text() else { return nil }
            members[key] = value
            if take("}") { return members }
            guard take(",") else { return nil }
        }
    }

    mutating func step() -> ManagerModel.Operation.Step? {
        guard take("{\"at\":"), let at = integer(), take(",\"detail\":"), let detail = text(), take(",\"name\":"),
            let name = text(), take("}")
        else { return nil }
        return .init(name: name, detail: detail, at: Timestamp(milliseconds: at))
    }
}
