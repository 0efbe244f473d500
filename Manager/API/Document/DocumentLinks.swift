import HTTPTypes

/// Links from an answer to what can be done with what it holds (OpenAPI 3.1, Link Object), so that a client that reads the document
/// finds its way from a creation on.
enum DocumentLinks {
    /// To all routes of what was made; where the thing was there before, only to the one that shows how it goes on.
    static func links(of route: Route, to routes: [Route]) -> JSONValue {
        guard let target = route.leadsTo else { return [:] }
        let isNew = !isBelow(route.pattern, target)
        let links = routes.filter { other in
            isNew
                ? isBelow(other.pattern, target) && other.parameters.count == 1
                : other.pattern == target && other.method == .get
        }
        return .object(links.map { .init($0.operationID, link(to: $0)) })
    }

    private static func link(to route: Route) -> JSONValue {
        [
            "operationId": .string(route.operationID), "description": .string(route.summary),
            "parameters": .object(
                route.parameters.map { .init($0, .string("$response.body#/\(member(for: $0))")) }),
        ]
    }

    /// The member of the answer that a parameter of a path takes. What is found by ID or name is found by ID for good.
    static func member(for parameter: String) -> String { parameter == "ref" ? "id" : parameter }

    private static func isBelow(_ pattern: String, _ target: String) -> Bool {
        pattern == target || pattern.hasPrefix(target + "/")
    }
}

extension Route {
    /// Names of the parameters in its path.
    var parameters: [String] { segments.compactMap { if case .parameter(let name) = $0 { name } else { nil } } }
}
