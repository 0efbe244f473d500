import HTTPTypes
import ManagerStore
import Synchronization
import Testing

@testable import ManagerAPI

/// The OpenAPI document against what is served, and against the rules of OpenAPI 3.1.
@Suite("OpenAPI document")
struct DocumentTests {
    private let document = OpenAPIDocument.make(APIRoutes.all, version: "1.0")

    @Test("it holds exactly the routes that are registered")
    func routes() {
        let served = Set(RouteTable(APIRoutes.all).routes.map { "\($0.method.rawValue) \($0.pattern)" })
        var documented: Set<String> = []
        for path in document["paths"]?.members ?? [] {
            for method in path.value.members ?? [] { documented.insert("\(method.name.uppercased()) \(path.name)") }
        }
        #expect(served == documented)
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
        #expect((document.members ?? []).map(\.name) == ["openapi", "info", "paths", "components"])
    }

    @Test("it is served, to anybody, as made")
    func served() async throws {
        let site = try await TestSite()
        let reply = try await site.test { try await $0.get("/v1/openapi.json") }
        #expect(reply.status == 200)
        #expect(reply.bytes == OpenAPIDocument.make(APIRoutes.all, version: "0.0-test").bytes)
        #expect(reply.json["openapi"] == "3.1.0")
    }

    private func collect(_ value: JSONValue, into found: inout Set<String>) {
        switch value {
        case .object(let members):
            for member in members {
                if member.name == "$ref", let text = member.value.string {
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
