/// Text of people inside filters and names of entries, where it must never be read as more than text.
enum DirectoryText {
    /// A value in a search filter (RFC 4515 §3). All but letters and digits is escaped: no list of what is dangerous can
    /// then be too short.
    static func filterValue(_ text: String) -> String {
        text.utf8.map { byte in
            isPlain(byte) ? String(UnicodeScalar(byte)) : "\\" + hexadecimal(byte)
        }.joined()
    }

    /// A value in an entry's name (RFC 4514 §2.4).
    static func nameValue(_ text: String) -> String { filterValue(text) }

    /// Finds one person by name.
    static func personFilter(attribute: String, name: String) -> String { "(\(attribute)=\(filterValue(name)))" }

    /// Whether the entry is a group with this member, in any of the ways in which directories record members.
    static func memberFilter(entry: String, unixName: String) -> String {
        let name = filterValue(entry)
        return "(|(member=\(name))(uniqueMember=\(name))(memberUid=\(filterValue(unixName))))"
    }

    /// The entry's name from a setting with `%s`.
    static func entryName(_ template: String, name: String) -> String {
        template.split(separator: "%s", omittingEmptySubsequences: false).joined(separator: nameValue(name))
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        let text = String(byte, radix: 16)
        return text.count == 1 ? "0" + text : text
    }
}
