import ManagerModel
import Testing

@testable import ManagerAPI

private func parse(_ text: String) -> JSONValue? { try? JSONParser.parse(Array(text.utf8)) }

@Suite("JSON")
struct JSONTests {
    @Test("what is written reads back the same")
    func roundTrip() {
        let value: JSONValue = [
            "a": 1, "b": [true, false, nil], "c": "é \u{1F600} \" \\ \n \u{0} \u{7F}", "d": .number(1.5), "e": [:],
            "f": [],
            "g": .integer(.min), "h": .integer(.max),
        ]
        #expect((try? JSONParser.parse(value.bytes)) == value)
    }

    @Test(
        "what RFC 8259 allows is read",
        arguments: [
            ("0", .integer(0)), ("-0", .integer(0)), ("1e3", .number(1000)), (" [ ] ", .array([])), ("{}", .object([])),
            (#""\u0041\ud83d\ude00""#, "A😀"), ("1.0", .number(1)),
            ("123456789012345678901234567890", .number(1.2345678901234568e29)),
            (#"{"a":{"b":[1,2]}}"#, ["a": ["b": [1, 2]]]),
        ] as [(String, JSONValue)])
    func accepted(text: String, value: JSONValue) {
        #expect(parse(text) == value)
    }

    @Test(
        "everything else is refused",
        arguments: [
            "", " ", "{", "}", "[", "]", "[1,]", "{\"a\":1,}", "{a:1}", "{'a':1}", "01", "1.", ".5", "+1", "-", "1e",
            "1e+",
            "tru", "True", "NaN", "Infinity", "nul", "\"", "\"a", "\"\n\"", #""\x""#, #""\u12""#, #""\ud800""#,
            #""\ud800\u0041""#, #""\udc00""#, "1 2", "[1]]", "{\"a\":1,\"a\":2}", "1e999", "[1 2]", "{\"a\" 1}",
            "{\"a\"}",
            "//c\n1", "\u{FEFF}1", "{\"a\":1,\"\\u0061\":2}", "\"\u{1}\"",
        ])
    func refused(text: String) {
        #expect(parse(text) == nil, "\(text)")
    }

    @Test("bad UTF-8 is refused")
    func badText() {
        for bytes: [UInt8] in [[0xFF], [0x22, 0xC3, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0x22, 0xC0, 0x80, 0x22]] {
            #expect(throws: JSONParser.Fault.self) { try JSONParser.parse(bytes) }
        }
    }

    @Test("depth and number of values are bounded")
    func bounded() {
        let depth = JSONParser.maximumDepth
        #expect(parse(String(repeating: "[", count: depth) + String(repeating: "]", count: depth)) != nil)
        #expect(parse(String(repeating: "[", count: depth + 1) + String(repeating: "]", count: depth + 1)) == nil)
        #expect(parse(String(repeating: "[", count: 500_000)) == nil)
        #expect(parse(String(repeating: #"{"a":"#, count: 100_000)) == nil)
        #expect(parse("[" + String(repeating: "1,", count: JSONParser.maximumValues) + "1]") == nil)
    }

    @Test("every prefix and every changed byte of a document is read or refused, never a crash")
    func mutations() {
        let bytes = Array(#"{"a":[1,-2.5e3,"x\u0041\n",true,null],"b":{"c":"é"}}"#.utf8)
        for length in 0..<bytes.count { _ = try? JSONParser.parse(Array(bytes.prefix(length))) }
        for index in bytes.indices {
            for replacement in stride(from: UInt8(0), through: 255, by: 7) {
                var changed = bytes
                changed[index] = replacement
                _ = try? JSONParser.parse(changed)
            }
        }
    }
}

@Suite("Schema check")
struct SchemaCheckTests {
    private static let schema = Schema.object(
        ObjectSchema(
            "Sample",
            [
                .init("name", .name(), required: true), .init("count", .integer(1...10)),
                .init("ratio", .number(0.5...2)), .init("tags", .properties),
                .init("list", .array(.boolean, maximum: 2)),
                .init("kind", .choice(["a", "b"])), .init("note", .nullable(.line(0...5))),
            ]))

    private func faults(_ value: JSONValue) -> [String] {
        SchemaCheck.faults(of: value, in: Self.schema).map { "\($0.pointer) \($0.detail)" }
    }

    @Test("all faults are told at once, each with its place")
    func all() {
        let found = faults([
            "nmae": "x", "count": 11, "ratio": "1", "tags": ["a/b": 1, "~": "ok"], "list": [true, 1, false],
            "kind": "c",
            "note": "too long", "zzz": nil,
        ])
        #expect(
            found == [
                "/nmae is not known here; did you mean 'name'?", "/zzz is not known here", "/name is missing",
                "/count must be from 1 to 10", "/ratio must be a number, not a text",
                "/tags/a~1b must be a text, not a number", "/list must have at most 2 entries",
                "/kind must be one of a, b", "/note must have at most 5 characters",
            ])
    }

    @Test("good values have no faults")
    func good() {
        #expect(
            faults(["name": "web-1.x", "count": 10, "ratio": 1, "tags": ["k": "v"], "kind": "a", "note": nil]).isEmpty)
        #expect(faults(["name": "a", "count": .number(2)]).isEmpty)
    }

    @Test(
        "names that could reach a path or a shell are refused (SEC-03)",
        arguments: [
            "", "-rf", ".hidden", "../x", "a/b", "a b", "a;b", "$(x)", "`x`", "a\nb", "a\0b", "é", "a|b", "a'b", "a\"b",
            String(repeating: "a", count: 65),
        ])
    func names(name: String) {
        #expect(!faults(["name": .string(name)]).isEmpty)
    }

    @Test("what is no object is refused")
    func notObject() {
        for value: JSONValue in [nil, 1, "x", [], true] { #expect(faults(value).count == 1) }
    }
}
