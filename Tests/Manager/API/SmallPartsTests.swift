import ManagerModel
import Testing

@testable import ManagerAPI

@Suite("Cursors")
struct CursorTests {
    @Test("a cursor reads back; of another list, cut, changed or invented it is refused")
    func cursor() throws {
        let cursor = Cursor(list: "instances", place: "0190a1b2-0000-7000-8000-000000000001")
        #expect(try Cursor(cursor.text, list: "instances") == cursor)
        #expect(throws: Refusal.self) { try Cursor(cursor.text, list: "images") }
        for text in [
            "", "x", "!!!", "AAAA", cursor.text + "A", String(cursor.text.dropLast()), cursor.text.uppercased(),
        ] {
            #expect(throws: Refusal.self, "\(text)") { try Cursor(text, list: "instances") }
        }
        for index in cursor.text.indices {
            var changed = cursor.text
            changed.replaceSubrange(index...index, with: changed[index] == "Q" ? "R" : "Q")
            #expect(throws: Refusal.self) { try Cursor(changed, list: "instances") }
        }
    }
}

@Suite("Queries")
struct QueryTests {
    private static let parameters =
        QueryParameter.page + [
            QueryParameter("all", .boolean, ""), QueryParameter("name", .line(1...64), ""),
        ]

    private func read(_ text: String?) throws(Refusal) -> Query { try Query(text, parameters: Self.parameters) }

    @Test("parameters are decoded and typed")
    func good() throws {
        let query = try read("limit=5&all=true&name=a%20b+c")
        #expect(query.integer("limit") == 5)
        #expect(query.boolean("all") == true)
        #expect(query.string("name") == "a b c")
        #expect(try read(nil).integer("limit") == nil)
        #expect(try read("").integer("limit") == nil)
    }

    @Test(
        "what cannot be accepted is refused by name",
        arguments: [
            ("limit=0", "?limit"), ("limit=1001", "?limit"), ("limit=x", "?limit"), ("limit=", "?limit"),
            ("limit=99999999999999999999", "?limit"), ("limit=1&limit=2", "?limit"), ("all=yes", "?all"),
            ("lmit=1", "?lmit"),
            ("%6Cmit=1", "?lmit"), ("after=%00", "?after"), ("=1", "?"),
            // A terminal would obey U+009B; U+2028 ends a line.
            ("name=a%C2%9Bb", "?name"), ("name=a%E2%80%A8b", "?name"),
        ])
    func bad(text: String, pointer: String) {
        let refusal = #expect(throws: Refusal.self) { try read(text) }
        #expect(refusal?.fields.first?.pointer == pointer)
    }

    @Test(
        "broken escapes, bad UTF-8 and floods are refused",
        arguments: ["after=%", "after=%4", "after=%zz", "after=%ff"])
    func malformed(text: String) {
        #expect(throws: Refusal.self) { try read(text) }
        #expect(throws: Refusal.self) { try read(String(repeating: "a=1&", count: 1000)) }
    }
}

@Suite("Metrics page")
struct MetricsPageTests {
    @Test("labels cannot break a line, numbers are Prometheus's")
    func text() {
        let family = MetricFamily(
            "roost_test_things", .gauge, help: "a\nb\\",
            samples: [
                .init(1, labels: [("name", "a\"b\\c\nd")]), .init(0.5), .init(.infinity), .init(.nan), .init(1e20),
            ])
        #expect(
            MetricsPage.text(of: [family])
                == """
                # HELP roost_test_things a\\nb\\\\
                # TYPE roost_test_things gauge
                roost_test_things{name="a\\"b\\\\c\\nd"} 1
                roost_test_things 0.5
                roost_test_things +Inf
                roost_test_things NaN
                roost_test_things 1e+20

                """)
    }

    @Test("the page is bounded")
    func bounded() {
        let samples = (0..<50_000).map { MetricFamily.Sample(Double($0), labels: [("n", "\($0)")]) }
        let text = MetricsPage.text(of: [MetricFamily("a", .gauge, help: "", samples: samples)])
        #expect(text.split(separator: "\n").count == MetricsPage.maximumSamples + 2)
    }

    @Test("requests are counted by route, histograms add up")
    func requests() {
        let metrics = RequestMetrics()
        for seconds in [0.001, 0.02, 3, 60] {
            metrics.began()
            metrics.ended(method: "GET", pattern: "/v1/nodes/{ref}", status: 200, seconds: seconds)
        }
        let text = MetricsPage.text(of: metrics.families)
        #expect(text.contains("roost_api_requests_total{method=\"GET\",route=\"/v1/nodes/{ref}\",status=\"200\"} 4"))
        #expect(text.contains("roost_api_request_seconds_bucket{route=\"/v1/nodes/{ref}\",le=\"0.025\"} 2"))
        #expect(text.contains("roost_api_request_seconds_bucket{route=\"/v1/nodes/{ref}\",le=\"+Inf\"} 4"))
        #expect(text.contains("roost_api_request_seconds_count{route=\"/v1/nodes/{ref}\"} 4"))
        #expect(text.contains("roost_api_requests_running 0"))
    }
}

@Suite("Route table")
struct RouteTableTests {
    @Test("fixed words win over parameters; methods are told")
    func match() throws {
        let table = RouteTable(APIRoutes.all)
        #expect(table.match(["v1", "users", "me"])?.pattern == "/v1/users/me")
        #expect(table.match(["v1", "users", "ann"])?.parameters == ["ref": "ann"])
        #expect(table.match(["v1", "users", ""]) == nil)
        #expect(table.match(["v1"]) == nil)
        #expect(table.match(["v1", "users", "ann", "x"]) == nil)
        #expect(table.match(["v1", "users"])?.allowed == "GET, HEAD, OPTIONS, POST")
    }

    @Test("a path is decoded segment by segment")
    func segments() {
        #expect(Responder.segments(of: "/v1/users/a%2Fb") == ["v1", "users", "a/b"])
        #expect(Responder.segments(of: "/v1/users/%00") == nil)
        #expect(Responder.segments(of: "/v1/users/%ff") == nil)
        #expect(Responder.segments(of: "/v1/users/%") == nil)
        #expect(Responder.segments(of: "/" + String(repeating: "a", count: 5000)) == nil)
    }
}

@Suite("Problems")
struct ProblemTests {
    @Test("every code has a status of an error and a title", arguments: Refusal.Code.allCases)
    func table(code: Refusal.Code) {
        let problem = Problem(Refusal(code, "some reason"))
        #expect((400..<600).contains(problem.status))
        #expect(problem.status != 500)
        #expect(!problem.title.isEmpty)
        #expect(problem.document["type"] == .string("urn:roost:problem:\(code.rawValue)"))
        #expect(problem.document["detail"] == "Some reason.")
    }
}
