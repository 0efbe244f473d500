import Foundation
public import ManagerModel
public import ProtocolModel

/// A value as both engines know it.
public enum SQLValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case real(Double)
    case text(String)
    case blob([UInt8])
}

/// What can be bound to a `?`.
public protocol SQLBindable {
    var sqlValue: SQLValue { get }
}

extension SQLValue: SQLBindable { public var sqlValue: SQLValue { self } }
extension Int: SQLBindable { public var sqlValue: SQLValue { .integer(Int64(self)) } }
extension Int64: SQLBindable { public var sqlValue: SQLValue { .integer(self) } }
extension UInt64: SQLBindable { public var sqlValue: SQLValue { .integer(Int64(bitPattern: self)) } }
extension Double: SQLBindable { public var sqlValue: SQLValue { .real(self) } }
extension Bool: SQLBindable { public var sqlValue: SQLValue { .integer(self ? 1 : 0) } }
extension String: SQLBindable { public var sqlValue: SQLValue { .text(self) } }
extension [UInt8]: SQLBindable { public var sqlValue: SQLValue { .blob(self) } }
extension ID: SQLBindable { public var sqlValue: SQLValue { .text(description) } }
extension Timestamp: SQLBindable { public var sqlValue: SQLValue { .integer(milliseconds) } }
extension ContentDigest: SQLBindable { public var sqlValue: SQLValue { .blob(bytes) } }
extension Epoch: SQLBindable { public var sqlValue: SQLValue { value.sqlValue } }
extension Generation: SQLBindable { public var sqlValue: SQLValue { value.sqlValue } }
extension Revision: SQLBindable { public var sqlValue: SQLValue { value.sqlValue } }
extension SessionEpoch: SQLBindable { public var sqlValue: SQLValue { value.sqlValue } }
extension PowerCycle: SQLBindable { public var sqlValue: SQLValue { value.sqlValue } }
extension Optional: SQLBindable where Wrapped: SQLBindable {
    public var sqlValue: SQLValue { self?.sqlValue ?? .null }
}

/// One row of an answer. Columns are read by name; a column that is missing or of another type is a corrupt store,
/// which is an error and never a trap.
public struct SQLRow: Sendable {
    let columns: [String: Int]
    let values: [SQLValue]

    public subscript(_ column: String) -> SQLValue {
        columns[column].map { values[$0] } ?? .null
    }

    private func unreadable(_ column: String) -> StoreError {
        .corrupt("column '\(column)' holds a value of the wrong type")
    }

    public func integer(_ column: String) throws -> Int64 {
        guard case .integer(let value) = self[column] else { throw unreadable(column) }
        return value
    }

    public func optionalInteger(_ column: String) throws -> Int64? {
        self[column] == .null ? nil : try integer(column)
    }

    public func int(_ column: String) throws -> Int { Int(try integer(column)) }

    public func flag(_ column: String) throws -> Bool { try integer(column) != 0 }

    public func real(_ column: String) throws -> Double {
        switch self[column] {
        case .real(let value): value
        case .integer(let value): Double(value)
        default: throw unreadable(column)
        }
    }

    public func text(_ column: String) throws -> String {
        guard case .text(let value) = self[column] else { throw unreadable(column) }
        return value
    }

    public func optionalText(_ column: String) throws -> String? {
        self[column] == .null ? nil : try text(column)
    }

    public func blob(_ column: String) throws -> [UInt8] {
        switch self[column] {
        case .blob(let value): value
        case .null: []
        default: throw unreadable(column)
        }
    }

    public func id<Kind>(_ column: String, _ kind: ID<Kind>.Type = ID<Kind>.self) throws -> ID<Kind> {
        guard let id = ID<Kind>(try text(column)) else { throw unreadable(column) }
        return id
    }

    public func optionalID<Kind>(_ column: String, _ kind: ID<Kind>.Type = ID<Kind>.self) throws -> ID<Kind>? {
        self[column] == .null ? nil : try id(column)
    }

    public func counter<Value: Counter>(_ column: String, _ type: Value.Type = Value.self) throws -> Value {
        Value(UInt64(bitPattern: try integer(column)))
    }

    public func timestamp(_ column: String) throws -> Timestamp { Timestamp(milliseconds: try integer(column)) }

    public func optionalTimestamp(_ column: String) throws -> Timestamp? {
        try optionalInteger(column).map(Timestamp.init(milliseconds:))
    }

    public func optionalDigest(_ column: String) throws -> ContentDigest? {
        self[column] == .null ? nil : ContentDigest(bytes: try blob(column))
    }

    public func choice<Value: RawRepresentable<String>>(
        _ column: String, _ type: Value.Type = Value.self
    ) throws -> Value {
        guard let value = Value(rawValue: try text(column)) else { throw unreadable(column) }
        return value
    }

    public func optionalChoice<Value: RawRepresentable<String>>(
        _ column: String, _ type: Value.Type = Value.self
    ) throws -> Value? {
        self[column] == .null ? nil : try choice(column)
    }

    // Most such columns hold little or nothing; Foundation's decoder takes longer for them than SQLite for the row.

    public func json(_ column: String, _ type: [String: String].Type = [String: String].self) throws -> [String: String]
    {
        try known(column) { $0.texts() }
    }

    public func json(_ column: String, _ type: [String].Type = [String].self) throws -> [String] {
        try known(column) { $0.list { $0.text() } }
    }

    public func json(
        _ column: String, _ type: [ManagerModel.Operation.Step].Type = [ManagerModel.Operation.Step].self
    ) throws -> [ManagerModel.Operation.Step] {
        try known(column) { $0.list { $0.step() } }
    }

    public func json(
        _ column: String, _ type: [ManagerModel.Operation.HostResult].Type = [ManagerModel.Operation.HostResult].self
    ) throws -> [ManagerModel.Operation.HostResult] {
        // Only an empty list is read by hand.
        try known(column) { $0.list { _ in nil } }
    }

    /// By hand where the text is as `jsonText` writes it; by the general decoder where it is not.
    private func known<Value: Decodable>(_ column: String, _ read: (inout JSONScanner) -> Value?) throws -> Value {
        let text = try text(column)
        if let value = JSONScanner.whole(text, read) { return value }
        do {
            return try decoded(text)
        } catch {
            throw unreadable(column)
        }
    }

    /// Reads a column that holds JSON.
    public func json<Value: Decodable>(_ column: String, _ type: Value.Type = Value.self) throws -> Value {
        do {
            return try decoded(try text(column))
        } catch {
            throw unreadable(column)
        }
    }
}

func decoded<Value: Decodable>(_ text: String) throws -> Value {
    try JSONDecoder().decode(Value.self, from: Data(text.utf8))
}
