import Foundation
import HTTPTypes
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

/// One operation as the served OpenAPI document tells it.
struct DocumentedOperation: Sendable {
    var method: HTTPRequest.Method
    var path: String
    var isOpen: Bool
    var isServed: Bool
    /// The type of its body, where it takes one.
    var bodyType: String?
    /// The properties of a JSON body, with their schemas.
    var properties: [JSONValue.Member] = []
    var query: [JSONValue] = []
    var headers: Set<String> = []

    var name: String { "\(method.rawValue) \(path)" }

    /// All operations of a document.
    static func all(in document: JSONValue) -> [DocumentedOperation] {
        (document["paths"]?.members ?? []).flatMap { path in
            (path.value.members ?? []).map { operation($0, path.name, document) }
        }
    }

    private static func operation(
        _ member: JSONValue.Member, _ path: String, _ document: JSONValue
    ) -> DocumentedOperation {
        let value = member.value
        var operation = DocumentedOperation(
            method: HTTPRequest.Method(member.name.uppercased()) ?? .get, path: path,
            isOpen: value["security"]?.array?.isEmpty ?? true, isServed: value["responses"]?["501"] == nil)
        for parameter in value["parameters"]?.array ?? [] {
            if parameter["in"] == "query" { operation.query.append(parameter) }
            if parameter["in"] == "header" { operation.headers.insert(parameter["name"]?.string ?? "") }
        }
        if let content = value["requestBody"]?["content"]?.members?.first {
            operation.bodyType = content.name
            let schema = resolved(content.value["schema"] ?? .null, document)
            operation.properties = (schema["properties"]?.members ?? []).map { property in
                .init(property.name, resolved(property.value, document))
            }
        }
        return operation
    }

    /// A schema without its references and without the `null` that it allows.
    private static func resolved(_ schema: JSONValue, _ document: JSONValue) -> JSONValue {
        if let reference = schema["$ref"]?.string, let name = reference.split(separator: "/").last {
            return resolved(document["components"]?["schemas"]?[String(name)] ?? .null, document)
        }
        if let choices = schema["anyOf"]?.array, let first = choices.first { return resolved(first, document) }
        return schema
    }

    /// Values that a schema does not allow, by each thing that it says.
    static func violations(of schema: JSONValue) -> [JSONValue] {
        var wrong: [JSONValue] = []
        switch schema["type"]?.string {
        case "boolean": wrong = ["true", 1]
        case "integer", "number":
            wrong = ["1", true, ["a": 1]]
            if schema["type"] == "integer" { wrong.append(.number(1.5)) }
            if let minimum = schema["minimum"]?.number { wrong.append(.number(minimum - 1)) }
            if let maximum = schema["maximum"]?.number { wrong.append(.number(maximum + 1)) }
            wrong.append(.number(1e300))
        case "string":
            wrong = [1, ["a"], "a\u{0}b"]
            if let minimum = schema["minLength"]?.integer, minimum > 0 { wrong.append("") }
            if let maximum = schema["maxLength"]?.integer {
                wrong.append(.string(String(repeating: "a", count: Int(maximum) + 1)))
            }
            if schema["enum"] != nil { wrong.append("zz") }
            if let pattern = schema["pattern"]?.string, let expression = try? Regex(pattern) {
                wrong += ["../x", "$(id)", "a b", "é", "a\u{1}"].filter { $0.wholeMatch(of: expression) == nil }
                    .map { .string($0) }
            }
            if schema["format"] == "email" { wrong += ["nobody", "a@", "a b@c"] }
        case "array":
            wrong = ["a", [:], [1]]
            if let maximum = schema["maxItems"]?.integer {
                wrong.append(.array(Array(repeating: "a", count: Int(maximum) + 1)))
            }
        case "object":
            wrong = ["a", [], ["a": 1], ["": "a"], ["a\u{1}": "a"]]
            if let maximum = schema["maxProperties"]?.integer {
                wrong.append(.object((0...maximum).map { .init("k\($0)", "v") }))
            }
        default: break
        }
        return wrong
    }

    /// The same for a query, where everything is text.
    static func queryViolations(of schema: JSONValue) -> [String] {
        var wrong = ["%01"]
        switch schema["type"]?.string {
        case "boolean": wrong += ["yes", "1", ""]
        case "integer":
            wrong += ["x", "", "1.5", "0x1", "99999999999999999999"]
            if let minimum = schema["minimum"]?.integer { wrong.append("\(minimum - 1)") }
            if let maximum = schema["maximum"]?.integer { wrong.append("\(maximum + 1)") }
        case "string":
            if schema["enum"] != nil { wrong.append("zz") }
            if schema["format"] == "date" { wrong += ["x", "2026-02-30", "2026-1-1", ""] }
            if let maximum = schema["maxLength"]?.integer {
                wrong.append(String(repeating: "a", count: Int(maximum) + 1))
            }
            if schema["minLength"]?.integer ?? 0 > 0 { wrong.append("") }
        default: break
        }
        return wrong
    }
}

/// Every operation of the document that is served, against what the document promises: whoever reads it must be able to
/// rely on each bound in it, and no request may be answered with a 5xx other than 501.
@Suite("Every operation of the OpenAPI document")
struct DocumentSweepTests {
    private static func operations(_ client: Client) async throws -> [DocumentedOperation] {
        let document = try await client.get("/v1/openapi.json").json
        let operations = DocumentedOperation.all(in: document)
        try #require(operations.count == APIRoutes.all.count(where: \.isServed) && operations.count > 50)
        return operations
    }

    /// A body that the operation takes, and its type.
    private static func goodBody(_ operation: DocumentedOperation) -> (bytes: [UInt8]?, type: String?) {
        let route = APIRoutes.all.first { $0.method == operation.method && $0.pattern == operation.path }
        switch route?.body {
        case .json(let schema), .optionalJSON(let schema): return (Sample.good(schema).bytes, operation.bodyType)
        case .form: return (Array("grant_type=password&token=x".utf8), operation.bodyType)
        case .stream: return ([1, 2, 3], operation.bodyType)
        default: return (nil, nil)
        }
    }

    private static func expect(
        _ reply: Reply, _ status: Int, _ what: String, pointer: String? = nil,
        at location: SourceLocation = #_sourceLocation
    ) {
        #expect(
            reply.status == status, "\(what): \(reply.status) \(reply.text.prefix(300))", sourceLocation: location)
        if what.contains(" /oauth/"), reply.status == 400 {
            #expect(reply.json["error"]?.string == "invalid_request", "\(what)", sourceLocation: location)
            return
        }
        #expect(
            SchemaCheck.faults(of: reply.json, in: .object(OpenAPIDocument.problem)) == []
                && reply.header("Content-Type") == "application/problem+json", "\(what): \(reply.text.prefix(300))",
            sourceLocation: location)
        #expect((reply.json["detail"]?.string ?? "").count > 15, "\(what)", sourceLocation: location)
        guard let pointer else { return }
        let errors = reply.json["errors"]?.array ?? []
        #expect(
            errors.contains { ($0["pointer"]?.string ?? "").hasPrefix(pointer) }, "\(what): \(reply.text.prefix(300))",
            sourceLocation: location)
    }

    @Test("no token, garbage, an expired one, one of a disabled or a deleted user: 401 (SEC-07)")
    func tokens() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let ann = site.users["ann"]!
        let expired = try await site.token(of: ann, issuedBefore: .seconds(901))
        let fromTheFuture = try await site.token(of: ann, issuedBefore: .seconds(-3600))
        let deleted = site.token("bob")
        let parts = site.token("ann").split(separator: ".")
        let unsigned = "eyJhbGciOiJub25lIn0.\(parts[1])."
        let headers: [(String, String)] = [
            ("", "/oauth/token"), ("Bearer \(expired)", "expired"), ("Bearer \(fromTheFuture)", "sign in"),
            ("Bearer \(deleted)", "sign in"), ("Bearer \(unsigned)", "sign in"), ("Bearer", "sign in"),
            ("Bearer a.b.c", "sign in"), ("Token \(site.token("ann"))", "sign in"),
            ("Bearer \(String(repeating: "x", count: 10_000))", "sign in"),
        ]
        try await site.test { client async throws in
            #expect(try await client.delete("/v1/users/bob", as: "root").status == 204)
            for operation in try await Self.operations(client) where !operation.isOpen {
                let path = fixtures.path(operation.path, owner: ann)
                let (bytes, type) = Self.goodBody(operation)
                for (header, advice) in headers {
                    let reply = try await client.send(
                        operation.method, path, body: bytes, type: type,
                        headers: header.isEmpty ? [:] : ["Authorization": header])
                    Self.expect(reply, 401, "\(operation.name) \(header.prefix(20))")
                    #expect(reply.code == "invalid_token" && reply.header("WWW-Authenticate") != nil)
                    #expect(reply.json["detail"]?.string?.contains(advice) == true, "\(reply.text)")
                }
            }
            #expect(try await client.patch("/v1/users/ann", ["enabled": false], as: "root").status == 200)
            for operation in try await Self.operations(client) where !operation.isOpen {
                let path = fixtures.path(operation.path, owner: ann)
                Self.expect(try await client.send(operation.method, path, as: "ann"), 401, operation.name)
            }
        }
    }

    @Test("a body that is too large: 413; one that nobody asked for: 400; another type than documented: 415")
    func bodies() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let huge = Array(repeating: UInt8(ascii: " "), count: BodyReader.maximumBytes + 1)
        try await site.test { client async throws in
            for operation in try await Self.operations(client) {
                let path = fixtures.path(operation.path, owner: site.users["ann"]!)
                let type = operation.bodyType ?? "application/json"
                let tooLarge = try await client.send(operation.method, path, as: "root", body: huge, type: type)
                guard operation.isServed else {
                    Self.expect(tooLarge, 501, operation.name)
                    continue
                }
                // An image's file may be as large as it likes; this one has one already.
                let isUpload = operation.bodyType == "application/octet-stream"
                Self.expect(tooLarge, isUpload ? 409 : 413, operation.name)
                let odd = try await client.send(operation.method, path, as: "root", body: [1], type: "text/plain")
                Self.expect(odd, operation.bodyType == nil ? 400 : 415, operation.name)
            }
        }
    }

    @Test("each bound that the document sets on a member of a body is kept, and the member is named")
    func members() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            var count = 0
            for operation in try await Self.operations(client) where operation.bodyType == "application/json" {
                let path = fixtures.path(operation.path, owner: site.users["ann"]!)
                let good = try JSONParser.parse(try #require(Self.goodBody(operation).bytes)).members ?? []
                for property in operation.properties {
                    let others = good.filter { $0.name != property.name }
                    for wrong in DocumentedOperation.violations(of: property.value) {
                        count += 1
                        let body = JSONValue.object(others + [.init(property.name, wrong)])
                        let reply = try await client.send(operation.method, path, as: "root", body: body.bytes)
                        Self.expect(
                            reply, 400, "\(operation.name) \(property.name) \(body.bytes.count) bytes",
                            pointer: "/\(property.name)")
                    }
                }
            }
            #expect(count > 200)
        }
    }

    @Test("each bound that the document sets on a query is kept, and the parameter is named")
    func queries() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            var count = 0
            // What comes to the sign-in page is told to people or to a client, in shapes of its own.
            for operation in try await Self.operations(client)
            where operation.isServed && operation.path != "/oauth/authorize" {
                let path = fixtures.path(operation.path, owner: site.users["ann"]!)
                let (bytes, type) = Self.goodBody(operation)
                for parameter in operation.query {
                    let name = try #require(parameter["name"]?.string)
                    for wrong in DocumentedOperation.queryViolations(of: parameter["schema"] ?? .null) {
                        count += 1
                        let reply = try await client.send(
                            operation.method, path + "?\(name)=\(wrong)", as: "root", body: bytes, type: type)
                        Self.expect(reply, 400, "\(operation.name)?\(name)=\(wrong.prefix(20))", pointer: "?\(name)")
                    }
                }
                let unknown = try await client.send(
                    operation.method, path + "?zz=1", as: "root", body: bytes, type: type)
                Self.expect(unknown, 400, "\(operation.name)?zz")
            }
            #expect(count > 50)
        }
    }

    @Test("a path takes the methods that are documented for it, and answers 405 to all others")
    func methods() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let operations = try await Self.operations(client)
            for path in Set(operations.map(\.path)) {
                let documented = Set(operations.filter { $0.path == path }.map(\.method.rawValue))
                let allowed = documented.union(documented.contains("GET") ? ["HEAD", "OPTIONS"] : ["OPTIONS"])
                for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"]
                where !documented.contains(method) {
                    let reply = try await client.send(
                        HTTPRequest.Method(method)!, fixtures.path(path, owner: site.users["ann"]!), as: "root")
                    Self.expect(reply, 405, "\(method) \(path)")
                    let told = (reply.header("Allow") ?? "").split(separator: ",").map(\.trimmed)
                    #expect(Set(told) == allowed, "\(method) \(path)")
                }
            }
        }
    }

    @Test("another's resource and one that never was get the same 404, by ID and by name")
    func foreign() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let ann = site.users["ann"]!
        let absent = "00000000-0000-7000-8000-000000000000"
        try await site.test { client async throws in
            var count = 0
            for operation in try await Self.operations(client) where operation.isServed && operation.path.contains("{")
            {
                let route = try #require(
                    APIRoutes.all.first { $0.method == operation.method && $0.pattern == operation.path })
                guard Rights.builtIn(.user).may(route.permission),
                    !Rights.builtIn(.user).allows(route.permission, .foreign)
                else {
                    continue
                }
                count += 1
                let (bytes, type) = Self.goodBody(operation)
                let theirs = fixtures.path(operation.path, owner: ann)
                let id = try #require(theirs.split(separator: "/").first { $0.utf8.count == 36 })
                let foreign = try await client.send(operation.method, theirs, as: "bob", body: bytes, type: type)
                let nobodys = try await client.send(
                    operation.method, theirs.replacing(id, with: absent), as: "bob", body: bytes, type: type)
                Self.expect(foreign, 404, operation.name)
                Self.expect(nobodys, 404, operation.name)
                // But for the name of the request.
                func document(_ reply: Reply) -> String {
                    let members = (reply.json.members ?? []).filter { $0.name != "instance" }
                    return String(decoding: JSONValue.object(members).bytes, as: UTF8.self)
                }
                #expect(document(foreign).replacing(id, with: absent) == document(nobodys), "\(operation.name)")
            }
            #expect(count >= 12)
        }
    }

    @Test("a stale If-Match answers 412 and changes nothing; an odd Idempotency-Key answers 400")
    func headers() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let ann = site.users["ann"]!
        try await site.test { client async throws in
            let before = try await client.get("/v1/events?limit=1000", as: "root").text
            for operation in try await Self.operations(client) where operation.isServed {
                let path = fixtures.path(operation.path, owner: ann)
                let (bytes, type) = Self.goodBody(operation)
                if operation.headers.contains("If-Match") {
                    for tag in ["\"0\"", "nonsense", "W/\"x\"", ",,"] {
                        let reply = try await client.send(
                            operation.method, path, as: "root", body: bytes, type: type, headers: ["If-Match": tag])
                        Self.expect(reply, 412, "\(operation.name) \(tag)")
                    }
                }
                if operation.headers.contains("Idempotency-Key") {
                    for key in ["a b", "é", String(repeating: "k", count: 256)] {
                        let reply = try await client.send(
                            operation.method, path, as: "root", body: bytes, type: type,
                            headers: ["Idempotency-Key": key])
                        Self.expect(reply, 400, "\(operation.name) \(key.prefix(3))")
                    }
                }
            }
            #expect(try await client.get("/v1/events?limit=1000", as: "root").text == before, "nothing was done")
        }
    }
}

extension TestSite {
    /// A token of a service that has the site's key, and whose clock is off.
    func token(of user: User, issuedBefore age: Duration) async throws -> String {
        struct Shifted: TimeSource {
            let age: Duration
            var timestamp: Timestamp { SystemTime().timestamp - age }
            var uptime: Uptime { SystemTime().uptime }
        }
        let service = try await TokenService(
            store: StoreCredentials(store), hasher: PasswordHasher(), key: try TokenKey.load(fromFolder: folder),
            secret: Array(repeating: 7, count: 32), issuer: "https://roost.test:7400", time: Shifted(age: age))
        return try await service.issue(to: user).access
    }
}
