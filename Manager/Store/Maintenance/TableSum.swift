import ProtocolDigest
import ProtocolModel

/// How many rows a table has, and a digest of all their values in the order of their key: equal on both engines for equal
/// contents.
public struct TableSum: Sendable, Equatable, Codable {
    public var table: String
    public var rows: Int
    /// SHA-256, hexadecimal.
    public var digest: String
}

/// Takes in rows for a `TableSum`.
struct TableSummer: ~Copyable {
    private var hash = ContentHasher()
    private var rows = 0

    mutating func add(_ row: [SQLValue]) {
        rows += 1
        var bytes: [UInt8] = []
        for value in row {
            switch value {
            case .null: bytes.append(0)
            case .integer(let number): Self.append(1, withUnsafeBytes(of: number.bigEndian, Array.init), to: &bytes)
            case .real(let number):
                Self.append(2, withUnsafeBytes(of: number.bitPattern.bigEndian, Array.init), to: &bytes)
            case .text(let text): Self.append(3, Array(text.utf8), to: &bytes)
            case .blob(let blob): Self.append(4, blob, to: &bytes)
            }
        }
        hash.update(bytes)
    }

    private static func append(_ kind: UInt8, _ content: [UInt8], to bytes: inout [UInt8]) {
        bytes.append(kind)
        bytes += withUnsafeBytes(of: UInt64(content.count).bigEndian, Array.init)
        bytes += content
    }

    consuming func sum(of table: String) -> TableSum {
        let rows = rows
        return TableSum(table: table, rows: rows, digest: hash.finish().description)
    }
}
