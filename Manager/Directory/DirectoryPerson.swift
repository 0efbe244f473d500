/// Somebody whom the directory vouches for.
public struct DirectoryPerson: Sendable, Equatable {
    /// As the directory writes it, which may differ from what was typed.
    public var name: String
    /// The entry's name.
    public var dn: String
    public var email: String?
    public var fullName: String?
    /// The name on the site's Unix systems.
    public var unixName: String?

    public init(name: String, dn: String, email: String? = nil, fullName: String? = nil, unixName: String? = nil) {
        self.name = name
        self.dn = dn
        self.email = email
        self.fullName = fullName
        self.unixName = unixName
    }
}

extension DirectoryPerson {
    /// Takes from an entry what is fit for the record; a value that is not counts as absent.
    init(_ entry: DirectoryEntry, typed name: String, _ attributes: DirectorySettings.Attributes) {
        let names = entry[attributes.name]
        self.name = names.first { $0.lowercased() == name.lowercased() } ?? names.first ?? name
        dn = entry.dn
        email = entry[attributes.email].first { $0.utf8.count <= 254 && $0.contains("@") && Self.isOneLine($0) }
        fullName = entry[attributes.fullName].first { $0.utf8.count <= 128 && Self.isOneLine($0) }
        unixName = entry[attributes.unixName].first(where: Self.isUnixName)
    }

    private static func isOneLine(_ text: String) -> Bool {
        !text.isEmpty && text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
    }

    /// What `useradd` takes.
    private static func isUnixName(_ text: String) -> Bool {
        guard let first = text.utf8.first, text.utf8.count <= 32 else { return false }
        func isLetter(_ byte: UInt8) -> Bool {
            (65...90).contains(byte) || (97...122).contains(byte) || byte == UInt8(ascii: "_")
        }
        return isLetter(first)
            && text.utf8.allSatisfy {
                isLetter($0) || (48...57).contains($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
            }
    }
}

/// An entry as read, with those of its attributes that were asked for.
struct DirectoryEntry: Sendable, Equatable {
    var dn: String
    /// By lower-case name: names of attributes are the same in any case.
    private var values: [String: [String]]

    init(dn: String, values: [String: [String]]) {
        self.dn = dn
        self.values = Dictionary(values.map { ($0.key.lowercased(), $0.value) }) { $0 + $1 }
    }

    subscript(attribute: String) -> [String] { values[attribute.lowercased()] ?? [] }
}
