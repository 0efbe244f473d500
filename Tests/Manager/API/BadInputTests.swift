import HTTPTypes
import ManagerIdentity
import ManagerModel
import Testing

@testable import ManagerAPI

/// Bad input to every route: the right code, a sentence, never a 5xx (made from the route table).
@Suite("Bad input")
struct BadInputTests {
    private static func schema(_ route: Route) -> ObjectSchema? {
        switch route.body {
        case .json(let schema), .optionalJSON(let schema): schema
        default: nil
        }
    }

    private static func expect(_ reply: Reply, _ statuses: Set<Int>, _ what: String) {
        #expect(statuses.contains(reply.status), "\(what): \(reply.status) \(reply.text.prefix(300))")
        if what.contains(" /oauth/"), reply.status == 400 {
            // RFC 6749 §5.2 has a shape of its own.
            #expect(reply.json["error"]?.string == "invalid_request", "\(what): \(reply.text)")
            #expect((reply.json["error_description"]?.string ?? "").count > 15, "\(what): \(reply.text)")
            return
        }
        #expect(reply.header("Content-Type") == "application/problem+json", "\(what)")
        let sentence = reply.json["detail"]?.string ?? ""
        #expect(sentence.count > 15 && sentence.last == "." || sentence.last == "?", "\(what): \(sentence)")
        #expect(reply.code?.isEmpty == false, "\(what)")
        #expect(SchemaCheck.faults(of: reply.json, in: .object(OpenAPIDocument.problem)) == [], "\(what)")
    }

    @Test("bodies that are no JSON, of another type, too large or too deep")
    func bodies() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let deep = String(repeating: "[", count: 100_000)
        let cases: [(String, [UInt8], String?, Set<Int>)] = [
            ("garbage", Array("{not json".utf8), "application/json", [400]),
            ("binary", (0...255).map { UInt8($0) }, "application/json", [400]),
            ("bad UTF-8", [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D], "application/json", [400]),
            ("deep", Array(deep.utf8), "application/json", [400]),
            ("huge", Array(repeating: 0x20, count: BodyReader.maximumBytes + 1), "application/json", [413]),
            ("an array", Array("[]".utf8), "application/json", [400]),
            ("null", Array("null".utf8), "application/json", [400]),
            ("a form", Array("a=b".utf8), "application/x-www-form-urlencoded", [415]),
            ("no type", Array("{}".utf8), nil, [415]),
            ("two names alike", Array(#"{"name":"a","name":"b"}"#.utf8), "application/json", [400]),
        ]
        try await site.test { client async throws in
            for route in APIRoutes.all where Self.schema(route) != nil {
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                for (what, bytes, type, statuses) in cases {
                    let reply = try await client.send(route.method, path, as: "root", body: bytes, type: type)
                    Self.expect(reply, statuses, "\(route.method) \(route.pattern) \(what)")
                }
            }
        }
    }

    @Test("fields that are missing, unknown, or of the wrong type are named by pointer")
    func fields() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for route in APIRoutes.all {
                guard let schema = Self.schema(route) else { continue }
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                let good = Sample.good(schema).members ?? []
                var cases: [(String, JSONValue)] = [("/zz_unknown", .object(good + [.init("zz_unknown", 1)]))]
                for field in schema.fields {
                    let others = good.filter { $0.name != field.name }
                    if field.isRequired { cases.append(("/\(field.name)", .object(others))) }
                    for wrong in Sample.wrongTypes(field.schema) {
                        cases.append(("/\(field.name)", .object(others + [.init(field.name, wrong)])))
                    }
                }
                for (pointer, value) in cases {
                    let reply = try await client.send(route.method, path, as: "root", body: value.bytes)
                    Self.expect(reply, [400], "\(route.method) \(route.pattern) \(pointer)")
                    #expect(reply.code == "invalid_request")
                    let pointers = reply.json["errors"]?.array?.compactMap { $0["pointer"]?.string } ?? []
                    #expect(pointers.contains { $0.hasPrefix(pointer) }, "\(route.pattern) \(pointer) in \(pointers)")
                }
            }
        }
    }

    @Test("queries that are unknown, repeated, of the wrong type or malformed")
    func queries() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for route in APIRoutes.all where route.isServed && !route.ignoresUnknownQuery {
                let path = fixtures.path(route.pattern, owner: site.users["ann"]!)
                var queries = ["zz_unknown=1", "%ff=1", "a=%", String(repeating: "a=1&", count: 100)]
                for parameter in route.query {
                    queries.append("\(parameter.name)=\(parameter.name == "after" ? "!" : "%00%01")")
                    if parameter.name != "name" { queries.append("\(parameter.name)=1&\(parameter.name)=1") }
                }
                for query in queries {
                    let body = Self.schema(route).map { Sample.good($0).bytes }
                    let reply = try await client.send(route.method, path + "?" + query, as: "root", body: body)
                    Self.expect(reply, [400], "\(route.method) \(route.pattern)?\(query.prefix(40))")
                }
            }
        }
    }

    @Test("references that mean nothing answer 404, whatever is in them (SEC-03)")
    func references() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        let references = [
            "nosuch", "00000000-0000-7000-8000-000000000000", "..%2F..%2Fetc%2Fpasswd", "%27%20OR%201%3D1%20--",
            "%24%28id%29",
            "a%0Ab", "%00", "%ff", "%", String(repeating: "a", count: 3000), "null", "*", "%25", "%F0%9F%92%A9",
        ]
        try await site.test { client async throws in
            for route in APIRoutes.all where route.pattern.contains("{") && !route.replies.isEmpty {
                for reference in references {
                    let path = route.pattern.replacing("{ref}", with: reference).replacing("{id}", with: reference)
                    var body = Self.schema(route).map { Sample.good($0).bytes }
                    let type = body == nil ? "application/octet-stream" : "application/json"
                    if case .stream = route.body { body = [1, 2, 3] }
                    let reply = try await client.send(route.method, path, as: "root", body: body, type: type)
                    Self.expect(reply, [404], "\(route.method) \(path.prefix(80))")
                }
            }
        }
    }

    @Test("other methods answer 405 with what is allowed; unknown paths 404; OPTIONS tells")
    func methods() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            for route in APIRoutes.all {
                let path = route.pattern.replacing("{ref}", with: "x").replacing("{id}", with: "x")
                let allowed = APIRoutes.all.filter { $0.pattern == route.pattern }.map(\.method)
                for method in [HTTPRequest.Method.put, .patch, .delete, .post, .init("BREW")!]
                where !allowed.contains(method) {
                    let reply = try await client.send(method, path, as: "root")
                    Self.expect(reply, [405], "\(method) \(path)")
                    #expect(reply.header("Allow")?.contains(route.method.rawValue) == true)
                }
                let options = try await client.send(.options, path)
                #expect(options.status == 204)
                #expect(options.header("Allow")?.contains("OPTIONS") == true)
            }
            for path in [
                "/", "/v1", "/v1/", "/nothing", "/v1/instances/", "//v1/instances", "/v1/instances/a/b/c",
                "/V1/instances",
            ] {
                Self.expect(try await client.get(path, as: "root"), [404], path)
            }
        }
    }

    @Test("HEAD answers as GET without its body")
    func head() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let get = try await client.get("/v1/users/me", as: "ann")
            let head = try await client.send(.head, "/v1/users/me", as: "ann")
            #expect(head.status == 200)
            #expect(head.bytes.isEmpty)
            #expect(head.header("ETag") == get.header("ETag"))
            #expect(head.header("Content-Length") == String(get.bytes.count))
        }
    }
}
