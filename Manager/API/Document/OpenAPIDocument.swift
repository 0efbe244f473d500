import HTTPTypes
import ManagerModel

/// The OpenAPI 3.1 document, written from the route table that is served.
enum OpenAPIDocument {
    static func make(_ routes: [Route], version: String) -> JSONValue {
        var schemas = Components()
        schemas.add(problem)
        // What a later version will serve is not described before it does.
        let routes = routes.filter(\.isServed)
        var order: [String] = []
        var paths: [String: [JSONValue.Member]] = [:]
        for route in routes {
            if paths[route.pattern] == nil { order.append(route.pattern) }
            let links = DocumentLinks.links(of: route, to: routes)
            let item = JSONValue.Member(route.method.rawValue.lowercased(), operation(route, links, &schemas))
            paths[route.pattern, default: []].append(item)
        }
        return [
            "openapi": "3.1.0",
            "info": [
                "title": "Roost", "version": .string(version),
                "description": .string(introduction),
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "servers": [["url": "/", "description": "The manager that serves this document"]],
            "tags": .array(
                DocumentTag.all(of: routes).map { ["name": .string($0.name), "description": .string($0.description)] }),
            "paths": .object(order.map { JSONValue.Member($0, .object(paths[$0] ?? [])) }),
            "components": [
                "schemas": .object(schemas.sorted),
                "responses": .object(DocumentReplies.components),
                "headers": .object(DocumentReplies.headerComponents),
                "securitySchemes": [
                    "bearer": [
                        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                        "description": "An access token of POST /oauth/token.",
                    ]
                ],
            ],
            "x-problems": DocumentReplies.codes,
        ]
    }

    /// Named objects met on the way.
    struct Components {
        private var values: [String: JSONValue] = [:]

        /// - Parameter isOpen: members that are not described are passed over.
        mutating func add(_ object: ObjectSchema, isOpen: Bool = false) {
            guard values[object.name] == nil else { return }
            values[object.name] = [:]
            values[object.name] = OpenAPIDocument.object(object, isOpen: isOpen, &self)
        }

        var sorted: [JSONValue.Member] { values.sorted { $0.key < $1.key }.map { JSONValue.Member($0.key, $0.value) } }
    }

    private static let introduction = """
        Runs virtual machines for a computing site. Sign in at POST /oauth/token and send the token as Authorization: Bearer. Lists \
        come in pages: pass `next` of one as `after` of the next. A change takes only what is to change (merge patch, RFC 7396: null \
        removes); If-Match with the ETag that was read refuses it where somebody else was quicker. Idempotency-Key on POST makes a \
        repetition harmless for 24 hours. 202 means begun: Operation-Location says where to ask how it goes on. Errors are problem \
        documents (RFC 9457), whose codes x-problems lists.
        """

    static let problem = ObjectSchema(
        "Problem",
        [
            .init("type", .text, required: true, "urn:roost:problem: and the code"),
            .init("title", .text, required: true), .init("status", .integer(100...599), required: true),
            .init("detail", .text, required: true, "a sentence that says what to do"),
            .init("code", .text, required: true),
            .init("instance", .text, "urn:roost:request: and the X-Request-ID of the answer"),
            .init(
                "errors",
                .array(
                    .object(
                        ObjectSchema(
                            "FieldError",
                            [
                                .init(
                                    "pointer", .text, required: true,
                                    "JSON pointer into the body, or ? and a query parameter"),
                                .init("detail", .text, required: true),
                            ])), maximum: SchemaCheck.maximumFaults)),
            .init("removed_by", .freeObject, "hosts that each placement filter removed"),
            .init(
                "limits", .array(.object(QuotaDocument.shortfall), maximum: 64), "the limits that this would break"),
            .init("operation_id", .identifier, "the operation in the way"),
        ])

    private static func operation(_ route: Route, _ links: JSONValue, _ schemas: inout Components) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init("operationId", .string(route.operationID)), .init("summary", .string(route.summary)),
            .init("tags", [.string(DocumentTag.name(of: route.pattern))]),
            .init("x-permission", .string(route.permission.rawValue)), .init("x-reach", reach(route.permission)),
            .init("security", route.permission.isOpen ? [] : [["bearer": []]]),
        ]
        let parameters = parameters(route, &schemas)
        if !parameters.isEmpty { members.append(.init("parameters", .array(parameters))) }
        if let body = body(route, &schemas) { members.append(.init("requestBody", body)) }
        var responses: [JSONValue.Member] = []
        for (status, reply) in route.replies {
            let isCut = route.query.contains { $0.name == "fields" }
            var new = response(status, reply, isCut: isCut, &schemas)
            if case .object(var parts) = new {
                parts.append(.init("headers", DocumentReplies.headers(route, status, reply)))
                new = .object(parts)
            }
            // A status may carry several types of content.
            if let index = responses.firstIndex(where: { $0.name == String(status) }) {
                responses[index].value = merged(responses[index].value, new)
            } else {
                responses.append(.init(String(status), new))
            }
        }
        if links != [:] {
            for index in responses.indices where ["201", "202"].contains(responses[index].name) {
                responses[index].value = .object((responses[index].value.members ?? []) + [.init("links", links)])
            }
        }
        for status in DocumentReplies.problems(of: route) where DocumentReplies.isOnPages(route, status) {
            // A page is shown for what a form's user can mend, a problem for all else.
            guard let index = responses.firstIndex(where: { $0.name == String(status) }) else { continue }
            responses[index].value = merged(responses[index].value, ["content": DocumentReplies.content])
        }
        for status in DocumentReplies.problems(of: route)
        where !responses.contains(where: { $0.name == String(status) }) {
            responses.append(.init(String(status), DocumentReplies.reference(status)))
        }
        responses.append(.init("default", refusal("A problem (RFC 9457)")))
        members.append(.init("responses", .object(responses)))
        return .object(members)
    }

    /// How far the permission reaches for each role of the system that has it.
    private static func reach(_ permission: Permission) -> JSONValue {
        guard !permission.isOpen else { return [:] }
        return .object(
            Role.allCases.filter { Rights.builtIn($0).may(permission) }.map {
                JSONValue.Member($0.rawValue, .string(Rights.builtIn($0)[permission].word))
            })
    }

    private static func refusal(_ description: String) -> JSONValue {
        ["description": .string(description), "content": DocumentReplies.content]
    }

    /// One status with several contents: of several types, or of one type in several shapes.
    private static func merged(_ first: JSONValue, _ second: JSONValue) -> JSONValue {
        var content = first["content"]?.members ?? []
        for new in second["content"]?.members ?? [] {
            if let index = content.firstIndex(where: { $0.name == new.name }) {
                let both = content[index].value
                let shapes = [both["schema"] ?? [:], new.value["schema"] ?? [:]]
                content[index].value = ["schema": ["anyOf": .array(shapes)], "example": both["example"] ?? .null]
            } else {
                content.append(new)
            }
        }
        return [
            "description": first["description"] ?? "", "headers": first["headers"] ?? [:], "content": .object(content),
        ]
    }

    private static func parameters(_ route: Route, _ schemas: inout Components) -> [JSONValue] {
        var parameters: [JSONValue] = []
        for segment in route.segments {
            guard case .parameter(let name) = segment else { continue }
            let summary = ["ref": "ID or name", "account": "Name of an account"][name] ?? "ID"
            parameters.append([
                "name": .string(name), "in": "path", "required": true, "description": .string(summary),
                "schema": ["type": "string", "minLength": 1], "example": .string(example(name, in: route)),
            ])
        }
        for parameter in route.query {
            parameters.append([
                "name": .string(parameter.name), "in": "query", "description": .string(parameter.summary),
                "schema": value(parameter.schema, &schemas),
            ])
        }
        for header in route.headers {
            parameters.append([
                "name": .string(header.name), "in": "header", "description": .string(header.summary),
                "schema": .object(
                    [.init("type", "string")] + (header.pattern.map { [.init("pattern", .string($0))] } ?? [])),
            ])
        }
        if route.isIdempotent {
            parameters.append([
                "name": "Idempotency-Key", "in": "header",
                "description": "The same key with the same request gets the first answer again.",
                "schema": ["type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$"],
            ])
        }
        if route.isConditional {
            parameters.append([
                "name": "If-Match", "in": "header", "description": "The ETag of the resource as it was read.",
                "schema": ["type": "string"],
            ])
        }
        return parameters
    }

    /// What stands for a thing in a path, such as `small` for a flavor.
    private static func example(_ parameter: String, in route: Route) -> String {
        guard parameter == "ref" else {
            return Examples.parameter(parameter, parameter == "id" ? .identifier : .reference).string ?? parameter
        }
        let names = [
            "flavors": "small", "images": "debian-12", "nodes": "cn42", "users": "ann", "accounts": "physics",
            "groups": "lab", "keypairs": "laptop", "aggregates": "gpu-hosts", "roles": "image-curator",
            "image-policies": "debian-everywhere", "server-groups": "web-apart",
        ]
        return names[DocumentTag.name(of: route.pattern)] ?? "web-1"
    }

    private static func body(_ route: Route, _ schemas: inout Components) -> JSONValue? {
        let types = route.method == .patch ? BodyReader.patchTypes : [Answer.json]
        return switch route.body {
        case .none: nil
        case .json(let object): content(types, object, required: true, &schemas)
        case .optionalJSON(let object): content(types, object, required: false, &schemas)
        case .form(let object):
            content(["application/x-www-form-urlencoded"], object, required: true, isOpen: true, &schemas)
        case .stream:
            [
                "required": true,
                "content": ["application/octet-stream": ["schema": ["type": "string", "format": "binary"]]],
            ]
        }
    }

    private static func content(
        _ types: [String], _ object: ObjectSchema, required: Bool, isOpen: Bool = false, _ schemas: inout Components
    ) -> JSONValue {
        schemas.add(object, isOpen: isOpen)
        let content: JSONValue = ["schema": reference(object, &schemas), "example": Examples.request(object)]
        return ["required": .boolean(required), "content": .object(types.map { .init($0, content) })]
    }

    private static func response(
        _ status: Int, _ reply: Route.Reply, isCut: Bool, _ schemas: inout Components
    ) -> JSONValue {
        let description = JSONValue.string(HTTPResponse.Status(code: status).reasonPhrase)
        switch reply {
        case .empty: return ["description": description]
        case .one(let object):
            return [
                "description": description,
                "content": [
                    "application/json": ["schema": reference(object, &schemas), "example": Examples.answer(object)]
                ],
            ]
        case .list(let object, let more):
            let (schema, example) = list(of: object, with: more, isCut: isCut, &schemas)
            return [
                "description": description, "content": ["application/json": ["schema": schema, "example": example]],
            ]
        case .text(let type):
            return ["description": description, "content": .object([.init(type, ["schema": ["type": "string"]])])]
        }
    }

    private static func list(
        of object: ObjectSchema, with more: [ObjectSchema.Field], isCut: Bool, _ schemas: inout Components
    ) -> (schema: JSONValue, example: JSONValue) {
        let items = isCut ? wholeOrCut(object, &schemas) : reference(object, &schemas)
        var properties: [JSONValue.Member] = [
            .init("items", ["type": "array", "items": items]),
            .init("next", ["type": ["string", "null"], "description": "the 'after' of the next page"]),
        ]
        for field in more { properties.append(.init(field.name, value(field.schema, &schemas))) }
        let required = ["items", "next"] + more.filter(\.isRequired).map(\.name)
        let example = Examples.answer(ObjectSchema("", more)).members ?? []
        return (
            ["type": "object", "required": .texts(required), "properties": .object(properties)],
            .object([.init("items", [Examples.answer(object)]), .init("next", nil)] + example)
        )
    }

    /// An item as it is, or with those members alone that `fields` names.
    private static func wholeOrCut(_ object: ObjectSchema, _ schemas: inout Components) -> JSONValue {
        let part = ObjectSchema(
            object.name + "Part", object.fields.map { ObjectSchema.Field($0.name, $0.schema, $0.summary) })
        return ["anyOf": [reference(object, &schemas), reference(part, &schemas)]]
    }

    private static func reference(_ object: ObjectSchema, _ schemas: inout Components) -> JSONValue {
        schemas.add(object)
        return ["$ref": .string("#/components/schemas/\(object.name)")]
    }

    private static func object(_ object: ObjectSchema, isOpen: Bool, _ schemas: inout Components) -> JSONValue {
        var properties: [JSONValue.Member] = []
        for field in object.fields {
            var schema = value(field.schema, &schemas)
            if !field.summary.isEmpty, case .object(var members) = schema {
                members.append(.init("description", .string(field.summary)))
                schema = .object(members)
            }
            properties.append(.init(field.name, schema))
        }
        var members: [JSONValue.Member] = [.init("type", "object"), .init("properties", .object(properties))]
        let required = object.fields.filter(\.isRequired).map { JSONValue.string($0.name) }
        if !required.isEmpty { members.append(.init("required", .array(required))) }
        // A field of a form is a text, and stands once (RFC 6749 §3.2), also where nobody knows it.
        members.append(.init("additionalProperties", isOpen ? ["type": "string"] : false))
        return .object(members)
    }

    private static func value(_ schema: Schema, _ schemas: inout Components) -> JSONValue {
        switch schema {
        case .boolean: return ["type": "boolean"]
        case .integer(let range):
            var members: [JSONValue.Member] = [.init("type", "integer"), .init("minimum", .integer(range.lowerBound))]
            if range.upperBound != .max { members.append(.init("maximum", .integer(range.upperBound))) }
            return .object(members)
        case .number(let range):
            var members: [JSONValue.Member] = [.init("type", "number"), .init("minimum", .number(range.lowerBound))]
            if range.upperBound < 1e300 { members.append(.init("maximum", .number(range.upperBound))) }
            return .object(members)
        case .string(let rule): return text(rule)
        case .choice(let words): return ["type": "string", "enum": .texts(words)]
        case .array(let element, let minimum, let maximum):
            var members: [JSONValue.Member] = [.init("type", "array"), .init("items", value(element, &schemas))]
            if minimum > 0 { members.append(.init("minItems", .count(minimum))) }
            members.append(.init("maxItems", .count(maximum)))
            return .object(members)
        case .map(let element, let maximum):
            return [
                "type": "object", "additionalProperties": value(element, &schemas), "maxProperties": .count(maximum),
                "propertyNames": ["minLength": 1, "maxLength": 255, "pattern": "^[^\\x00-\\x1F\\x7F]*$"],
            ]
        case .object(let object): return reference(object, &schemas)
        case .nullable(let inner): return ["anyOf": [value(inner, &schemas), ["type": "null"]]]
        case .freeObject: return ["type": "object"]
        }
    }

    private static func text(_ rule: TextRule) -> JSONValue {
        var members: [JSONValue.Member] = [.init("type", "string")]
        if let format = rule.format { members.append(.init("format", .string(format))) }
        // NUL is refused in any text, since it ends strings in the libraries below.
        if let pattern = rule.pattern ?? (rule.format == nil ? "^[^\\x00]*$" : nil) {
            members.append(.init("pattern", .string(pattern)))
        }
        if rule.format == nil {
            if rule.lengths.lowerBound > 0 { members.append(.init("minLength", .count(rule.lengths.lowerBound))) }
            members.append(.init("maxLength", .count(rule.lengths.upperBound)))
        }
        return .object(members)
    }
}
