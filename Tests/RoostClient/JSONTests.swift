import Testing

@testable import RoostClient

@Suite("JSON as it came")
struct JSONTests {
    @Test(
        "comes out as it went in: order, digits, text",
        arguments: [
            #"{"z":1,"a":{"k":[true,false,null]},"m":""}"#,
            #"[18446744073709551615,-0,0.10,1e400,-2.5E-3]"#,
            #""grüße \\ \" / 日本""#,
            #"{}"#, #"[]"#, #"0"#,
        ])
    func roundTrip(text: String) throws {
        #expect(JSONWriter.compact(try JSONReader.read(Array(text.utf8))) == text)
    }

    @Test("knows all escapes")
    func escapes() throws {
        let value = try JSONReader.read(Array(#""\u00e9\ud83d\ude00\n\t\/\b""#.utf8))
        #expect(value == .string("é😀\n\t/\u{8}"))
    }

    @Test(
        "refuses what is not JSON",
        arguments: [
            "", " ", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "01", "1.", "-", "+1", "nul", "\"\u{1}\"", "\"abc", "1 2",
            #""\ud800""#, #""\udc00""#, #""\x""#, #""\u12g4""#, "{a:1}", "'a'", "NaN",
            String(repeating: "[", count: 100_000),
        ])
    func malformed(text: String) {
        #expect(throws: ClientError.self) { _ = try JSONReader.read(Array(text.utf8)) }
    }

    @Test("refuses bytes that are no UTF-8")
    func bytes() {
        #expect(throws: ClientError.self) { _ = try JSONReader.read([0x22, 0xFF, 0x22]) }
    }

    @Test("survives each cut of an answer")
    func cuts() {
        let whole = Array(#"{"items":[{"name":"a\u00e9","n":-1.5e3,"x":null}],"next":"c"}"#.utf8)
        for length in 0..<whole.count {
            #expect(throws: ClientError.self) { _ = try JSONReader.read(Array(whole[..<length])) }
        }
    }

    @Test("is printed indented, and safe for a terminal")
    func indented() {
        let value: JSON = [
            "name": .string("a\u{1B}[2J\u{9B}b\u{202E}"), "list": .array([.whole(1), ["k": .null]]), "none": .array([]),
        ]
        #expect(
            JSONWriter.indented(value) == """
                {
                  "name": "a\\u001b[2J\\u009bb\\u202e",
                  "list": [
                    1,
                    {
                      "k": null
                    }
                  ],
                  "none": []
                }
                """)
    }

    @Test("leaves out what was not given")
    func present() {
        #expect(JSONWriter.compact(.present(["a": .whole(1), "b": nil, "c": .null])) == #"{"a":1,"c":null}"#)
        #expect(
            JSONWriter.compact((["a": .null] as JSON).setting("a", to: .flag(true)).setting("b", to: .null))
                == #"{"a":true,"b":null}"#)
    }
}
