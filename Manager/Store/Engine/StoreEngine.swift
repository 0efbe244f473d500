import Foundation

/// The two engines that can hold a record.
public enum StoreEngine: String, Sendable, CaseIterable {
    case sqlite
    case mariadb
}

/// Everything in which the two engines' schemas differ. Statements of migrations are written once: upper-case words for
/// types, of which `DIGEST` is a hash that may stand in a key.
extension StoreEngine {
    /// A migration's statement in this engine's words.
    func definition(_ statement: String) -> String {
        switch self {
        case .sqlite:
            // Here a blob may be a key.
            return Self.replacing(["DIGEST": "BLOB"], in: statement)
        case .mariadb:
            // TEXT ends at 64 KiB there, which an inventory or a guest's user data may exceed, and a key has a length.
            // SQLite keeps to no length of a text, so that what a text may hold is decided where it comes in: names get
            // room here, and identifiers (36 characters) and words of ours stay short.
            let words = Self.replacing(
                ["DIGEST": "VARBINARY(32)", "TEXT": "LONGTEXT", "BLOB": "LONGBLOB"], in: statement
            ).replacing(/VARCHAR\((?<length>[0-9]+)\)/) { match in
                let length = Int(match.output.length) ?? 0
                return length < 32 || length == 36 ? String(match.output.0) : "VARCHAR(255)"
            }
            guard words.hasPrefix("CREATE TABLE") else { return words }
            // Compares by bytes and counts trailing spaces, as SQLite does.
            return words + " ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
        }
    }

    /// A statement of a repository in this engine's words. Repositories write what both read, and `ON CONFLICT (key) DO
    /// UPDATE SET a = excluded.a` for what they do not.
    func statement(_ sql: String) -> String {
        guard self == .mariadb, let conflict = sql.range(of: "ON CONFLICT ("),
            let update = sql.range(of: ") DO UPDATE SET", range: conflict.upperBound..<sql.endIndex)
        else { return sql }
        let changes = sql[update.upperBound...]
            .replacing(/\bexcluded\.(?<column>[a-z_]+)/) { match in "VALUES(\(match.output.column))" }
        return sql[..<conflict.lowerBound] + "ON DUPLICATE KEY UPDATE" + changes
    }

    private static func replacing(_ words: [String: String], in statement: String) -> String {
        var result = ""
        var rest = Substring(statement)
        while let first = rest.first {
            let isWord: (Character) -> Bool = { $0.isLetter || $0.isNumber || $0 == "_" }
            let part = isWord(first) ? rest.prefix(while: isWord) : rest.prefix { !isWord($0) }
            result += words[String(part)] ?? String(part)
            rest = rest[part.endIndex...]
        }
        return result
    }
}
