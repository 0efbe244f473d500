import ManagerModel
import Synchronization

/// Values of a JSON column by their row's key, for a column that is read far more often than it changes; shared by the
/// connections of a store. Whatever the transaction that a value was read in, it is what its text says.
final class DecodedColumn<Value: Decodable & Equatable & Sendable>: Sendable {
    private struct State {
        var values: [String: (text: String, value: Value)] = [:]
        var bytes = 0
    }

    private let state = Mutex(State())
    private let limit: Int

    /// Keeps values whose texts together have at most `limit` bytes; what they were decoded into has about as much again.
    init(limit: Int) {
        self.limit = limit
    }

    /// The text that the row was read with, where it stands for this value; writing it anew would cost more than all else.
    func text(of value: Value, in row: String) -> String? {
        guard let known = state.withLock({ $0.values[row] }), known.value == value else { return nil }
        return known.text
    }

    /// The value that `text` stands for: decoded once for as long as the row holds this text.
    func value(of text: String, in row: String) throws -> Value {
        if let known = state.withLock({ $0.values[row] }), known.text == text { return known.value }
        let value: Value
        do {
            value = try decoded(text)
        } catch {
            throw StoreError.corrupt("the row '\(row)' holds JSON of the wrong form")
        }
        state.withLock { state in
            state.bytes += text.utf8.count - (state.values[row]?.text.utf8.count ?? 0)
            // Rows that are gone leave this way, too.
            if state.bytes > limit {
                state.values.removeAll()
                state.bytes = text.utf8.count
            }
            state.values[row] = (text, value)
        }
        return value
    }
}

extension DecodedColumn where Value == NodeInventory {
    /// What nodes say of themselves: room for 25,000 of them with five kilobytes each.
    static func ofNodes() -> DecodedColumn { DecodedColumn(limit: 128 << 20) }
}
