import HTTPTypes
import ManagerStore
import Synchronization
import Testing

@testable import ManagerAPI

/// The OpenAPI document against what is served, and against the rules of OpenAPI 3.1.
@Suite("OpenAPI document")
struct DocumentTests {
    private let document = OpenAPIDocument.make(APIRoutes.all, version: "1.0")

    @Test("it holds exactly the routes that are registered and do something")
    func routes() {
        let served = Set(RouteTable(APIRoutes.all).routes.map { "\($0.method.rawValue) \($0.pattern)" })
        var documented: Set<String> = []
        for path in document["paths"]?.members ?? [] {
            for method in path.value.members ?? [] { documented.insert("\(method.name.uppercased()) \(path.name)") }
        }
        let described = APIRoutes.all.filter(\.isServed).map { "\($0.method.rawValue) \($0.pattern)" }
        #expect(documented == Set(described))
        #expect(served.count == APIRoutes.all.count)
    }

    @Test("every documented path is found by the router")
    func matched() {
        let table = RouteTable(APIRoutes.all)
        for route in APIRoutes.all {
            let path = route.pattern.split(separator: "/").map { $0.hasPrefix("{") ? "zzz" : String($0) }
            #expect(table.match(path)?.pattern == route.pattern)
        }
    }

    @Test("operations have an ID of their own, a summary, and a default answer")
    func operations() {
        var names: Set<String> = []
        for path in document["paths"]?.members ?? [] {
            let inPath = Set(
                path.name.split(separator: "/").filter { $0.hasPrefix("{") }.map { $0.dropFirst().dropLast() })
            for (method, operation) in (path.value.members ?? []).map({ ($0.name, $0.value) }) {
                let name = operation["operationId"]?.string ?? ""
                #expect(!names.contains(name))
                names.insert(name)
                #expect(operation["summary"]?.string?.isEmpty == false)
                #expect(operation["responses"]?["default"] != nil)
                #expect(operation["security"]?.array != nil)
                let parameters = operation["parameters"]?.array ?? []
                let named = Set(
                    parameters.filter { $0["in"] == "path" }.compactMap { $0["name"]?.string }.map { $0[...] })
                #expect(named == inPath, "\(method) \(path.name)")
                #expect(parameters.allSatisfy { $0["schema"] != nil && $0["name"] != nil })
            }
        }
    }

    @Test("every reference has its component, every component is an object")
    func references() {
        let schemas = Set((document["components"]?["schemas"]?.members ?? []).map(\.name))
        var found: Set<String> = []
        collect(document, into: &found)
        #expect(found == schemas)
        for member in document["components"]?["schemas"]?.members ?? [] {
            #expect(member.value["type"] == "object", "\(member.name)")
        }
    }

    @Test("the top is as OpenAPI 3.1 wants it")
    func top() {
        #expect(document["openapi"] == "3.1.0")
        #expect(document["info"]?["title"]?.string == "Roost")
        #expect(document["info"]?["version"]?.string == "1.0")
        #expect(document["components"]?["securitySchemes"]?["bearer"]?["scheme"] == "bearer")
        #expect(
            (document.members ?? []).map(\.name)
                == ["openapi", "info", "servers", "tags", "paths", "components", "x-problems"])
    }

    @Test("it is served, to anybody, as made")
    func served() async throws {
        let site = try await TestSite()
        let reply = try await site.test { try await $0.get("/v1/openapi.json") }
        #expect(reply.status == 200)
        #expect(reply.bytes == OpenAPIDocument.make(APIRoutes.all, version: "0.0-test").bytes)
        #expect(reply.json["openapi"] == "3.1.0")
    }

    @Test("references to answers and headers have their component")
    func otherReferences() {
        let components = document["components"]
        var missing: [String] = []
        func look(_ value: JSONValue) {
            for member in value.members ?? [] {
                if member.name == "$ref", let text = member.value.string {
                    let parts = text.split(separator: "/").map(String.init)
                    if components?[parts[2]]?[parts[3]] == nil { missing.append(text) }
                }
                look(member.value)
            }
            for element in value.array ?? [] { look(element) }
        }
        look(document)
        #expect(missing.isEmpty)
    }

    @Test("every body and every JSON answer has an example, which is as the schema wants it")
    func examples() {
        for route in APIRoutes.all where route.isServed {
            let name = "\(route.method.rawValue) \(route.pattern)"
            switch route.body {
            case .json(let object), .optionalJSON(let object), .form(let object):
                let faults = SchemaCheck.faults(of: Examples.request(object), in: .object(object))
                #expect(faults.isEmpty, "\(name): \(object.name) \(faults)")
            case .none, .stream: break
            }
            for (status, reply) in route.replies {
                switch reply {
                case .one(let object), .list(let object, _):
                    let faults = SchemaCheck.faults(of: Examples.answer(object), in: .object(object))
                    #expect(faults.isEmpty, "\(name) \(status): \(object.name) \(faults)")
                case .empty, .text: break
                }
            }
        }
    }

    @Test("whatever creates something links to what shows, changes and deletes it")
    func links() throws {
        var linked = 0
        for route in APIRoutes.all where route.isServed {
            let name = "\(route.method.rawValue) \(route.pattern)"
            let answers = document["paths"]?[route.pattern]?[route.method.rawValue.lowercased()]?["responses"]
            for (status, reply) in route.replies where status == 201 || status == 202 {
                guard case .one(let object) = reply else { continue }
                let links = answers?[String(status)]?["links"]?.members ?? []
                // Tokens and signing keys are shown once, and no route shows them again.
                guard let target = route.leadsTo else {
                    #expect(Self.shownOnce.contains(name), "\(name): where does its answer lead to?")
                    continue
                }
                linked += 1
                let targets = try links.map { link in
                    let other = try #require(
                        APIRoutes.all.first { $0.operationID == link.value["operationId"]?.string }, "\(link.name)")
                    let parameters = link.value["parameters"]?.members ?? []
                    #expect(Set(parameters.map(\.name)) == Set(other.parameters), "\(name) to \(link.name)")
                    for parameter in parameters {
                        let member = parameter.value.string?.split(separator: "/").last.map(String.init)
                        #expect(object.fields.contains { $0.name == member && $0.isRequired }, "\(name): \(parameter)")
                    }
                    return "\(other.method.rawValue) \(other.pattern)"
                }
                #expect(targets.contains("GET \(target)"), "\(name)")
                guard !route.pattern.hasPrefix(target) else { continue }
                let others = APIRoutes.all.filter { $0.isServed && $0.pattern == target }
                    .map { "\($0.method.rawValue) \($0.pattern)" }
                #expect(Set(others).isSubset(of: targets), "\(name)")
            }
        }
        #expect(linked > 12)
    }

    private static let shownOnce: Set = [
        "POST /v1/signing-keys/rotate", "POST /v1/users/{ref}/masquerade", "POST /v1/nodes/tokens",
    ]

    @Test("the stream of events says by which header it goes on")
    func lastEventID() {
        let parameters = document["paths"]?["/v1/events"]?["get"]?["parameters"]?.array ?? []
        let header = parameters.first { $0["name"] == "Last-Event-ID" }
        #expect(header?["in"] == "header")
        #expect(header?["schema"]?["pattern"] == "^[0-9]{1,18}$")
    }

    @Test("every operation says which problems it may meet, and every tag is described")
    func replies() {
        let tags = Set((document["tags"]?.array ?? []).compactMap { $0["name"]?.string })
        for path in document["paths"]?.members ?? [] {
            for (method, operation) in (path.value.members ?? []).map({ ($0.name, $0.value) }) {
                let names = (operation["responses"]?.members ?? []).map(\.name)
                #expect(names.contains { $0.hasPrefix("2") }, "\(method) \(path.name)")
                #expect(names.contains("503"), "\(method) \(path.name)")
                #expect(operation["tags"]?.array?.count == 1)
                #expect((operation["tags"]?.array ?? []).allSatisfy { tags.contains($0.string ?? "") })
            }
        }
    }

    @Test("the page for people names every operation and object, loads nothing, and escapes what it shows")
    func page() async throws {
        let page = DocumentPage.make(document)
        for route in APIRoutes.all where route.isServed {
            #expect(page.contains("</b> \(route.pattern)</code>"), "\(route.pattern)")
        }
        for object in document["components"]?["schemas"]?.members ?? [] {
            #expect(page.contains("id=\"\(object.name)\""))
        }
        #expect(!page.contains("<script") && !page.contains("src=") && !page.contains("url("))
        #expect(DocumentPage.escape("<a b='c' d=\"e\">&") == "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;")
        let site = try await TestSite()
        let reply = try await site.test { try await $0.get("/v1/docs") }
        #expect(reply.status == 200)
        #expect(reply.header("Content-Type") == "text/html; charset=utf-8")
        #expect(reply.header("Content-Security-Policy")?.contains("default-src 'none'; style-src 'sha256-") == true)
        #expect(reply.text.hasPrefix("<!doctype html>"))
    }

    private func collect(_ value: JSONValue, into found: inout Set<String>) {
        switch value {
        case .object(let members):
            for member in members {
                if member.name == "$ref", let text = member.value.string, text.hasPrefix("#/components/schemas/") {
                    found.insert(String(text.split(separator: "/").last ?? ""))
                }
                collect(member.value, into: &found)
            }
        case .array(let values):
            for value in values { collect(value, into: &found) }
        default: break
        }
    }
}
