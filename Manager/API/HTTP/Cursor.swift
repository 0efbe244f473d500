import Foundation
import ManagerModel
import ManagerStore

/// Where a page of a list ended. Clients hand it back and need not know what is in it; what was tampered with, or
/// comes from another list, is refused.
struct Cursor: Equatable {
    /// The list, such as `instances`.
    var list: String
    /// The last item's place in the order of the list.
    var place: String

    var text: String {
        let body = "1|\(list)|\(place)"
        return Self.encode(Array((body + "|" + Self.check(body)).utf8))
    }

    init(list: String, place: String) {
        self.list = list
        self.place = place
    }

    init(_ text: String, list: String) throws(Refusal) {
        guard let bytes = Self.decode(text), let decoded = String(validating: bytes, as: UTF8.self) else {
            throw Self.refusal
        }
        let parts = decoded.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 4, parts[0] == "1", parts[1] == list else { throw Self.refusal }
        // A place may hold a name with such a bar.
        let place = parts[2..<parts.count - 1].joined(separator: "|")
        guard parts[parts.count - 1] == Self.check("1|\(list)|\(place)") else { throw Self.refusal }
        self.list = list
        self.place = place
    }

    static let refusal = Refusal(
        .unprocessable, "'after' is not a cursor of this list; begin again without it",
        fields: [Refusal.Field(pointer: "?after", detail: "must be the 'next' of the page before")])

    /// Tells slips from cursors; it protects nothing, since a cursor only says where to go on (FNV-1a).
    private static func check(_ text: String) -> String {
        let hash = text.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
        return String(hash, radix: 36)
    }

    private static func encode(_ bytes: [UInt8]) -> String {
        Data(bytes).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    private static func decode(_ text: String) -> [UInt8]? {
        let standard = text.replacing("-", with: "+").replacing("_", with: "/")
        let padding = String(repeating: "=", count: (4 - standard.count % 4) % 4)
        guard let data = Data(base64Encoded: standard + padding), encode(Array(data)) == text else { return nil }
        return Array(data)
    }
}
