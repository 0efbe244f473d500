import Foundation
import ManagerModel
import ProtocolModel
import Testing

@testable import ManagerStore

@Suite("JSON columns")
struct JSONTextTests {
    static let words = [
        "", "plain", "ü — 漢字 🐦", "\"quoted\"", "back\\slash", "a/b", "\n\r\t\u{8}\u{C}", "\u{0}\u{1}\u{1F}\u{7F}",
        "\u{2028}", "e\u{301}",
    ]

    @Test("text written by hand is read back as what it was", arguments: words)
    func readBack(word: String) throws {
        func decoded<Value: Decodable>(_ text: String, _ type: Value.Type) throws -> Value {
            try JSONDecoder().decode(Value.self, from: Data(text.utf8))
        }
        let map = [word: word, "key": "value", "a": word]
        #expect(try decoded(try jsonText(map), [String: String].self) == map)
        #expect(try decoded(try jsonText([word, "x", word]), [String].self) == [word, "x", word])
        let steps = [word, "prepare"].map {
            ManagerModel.Operation.Step(name: $0, detail: word, at: Timestamp(milliseconds: 1_790_000_000_000))
        }
        #expect(try decoded(try jsonText(steps), [ManagerModel.Operation.Step].self) == steps)
    }

    @Test("a column is read as the general decoder reads it, whoever wrote it", arguments: words)
    func columns(word: String) throws {
        func read<Value: Decodable & Equatable>(
            _ text: String, _ type: Value.Type, _ value: (SQLRow) throws -> Value
        ) throws {
            let row = SQLRow(columns: ["c": 0], values: [.text(text)])
            let expected = try? JSONDecoder().decode(Value.self, from: Data(text.utf8))
            let found = try? value(row)
            #expect(found == expected, "\(text)")
        }
        let quoted = try jsonText([word]).dropFirst().dropLast()
        for map in [
            "{}", "{ }", #"{"a":\#(quoted),\#(quoted):"b"}"#, #"{"a": \#(quoted)}"#, "{\(quoted)}", "[]", "{} ", "",
        ] {
            try read(map, [String: String].self) { try $0.json("c") as [String: String] }
        }
        for list in [
            "[]", "[\(quoted)]", "[\(quoted),\"x\"]", "[ \(quoted) ]", "[\(quoted),]", "[\(quoted)", "[1]", "{}",
        ] {
            try read(list, [String].self) { try $0.json("c") as [String] }
        }
        typealias Step = ManagerModel.Operation.Step
        let steps = [word, "prepare"].map {
            Step(name: $0, detail: word, at: Timestamp(milliseconds: -1_790_000_000_000))
        }
        let text = try jsonText(steps)
        for list in [
            "[]", text, text.replacing(",", with: ", "), text.replacing("-", with: ""), String(text.dropLast()),
        ] {
            try read(list, [Step].self) { try $0.json("c") as [Step] }
        }
    }

    @Test("writes what Foundation writes, so that rows of older versions compare equal")
    func likeFoundation() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let map = Dictionary(uniqueKeysWithValues: Self.words.enumerated().map { ("key \($0)/", $1) })
        #expect(try jsonText(map) == String(decoding: try encoder.encode(map), as: UTF8.self))
        #expect(try jsonText([String: String]()) == "{}")
        #expect(try jsonText([String]()) == "[]")
        #expect(try jsonText([ManagerModel.Operation.HostResult]()) == "[]")
        let changes: [String: Event.Difference] = [
            "a": .init(before: nil, after: "x\""), "b/": .init(before: "y", after: nil),
            "c": .init(before: "1", after: "2"), "d": .init(before: nil, after: nil),
        ]
        #expect(try jsonText(changes) == String(decoding: try encoder.encode(changes), as: UTF8.self))
        let steps = [ManagerModel.Operation.Step(name: "a", detail: "b\"", at: Timestamp(milliseconds: -1))]
        #expect(try jsonText(steps) == String(decoding: try encoder.encode(steps), as: UTF8.self))
    }
}
