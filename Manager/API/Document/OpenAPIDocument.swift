import HTTPTypes
import ManagerModel

/// The OpenAPI 3.1 document, written from the route table that is served.
enum OpenAPIDocument {
    static func make(_ routes: [Route], version: String) -> JSONValue {
        var schemas = Components()
        schemas.add(problem)
        var order: [String] = []
        var paths: [String: [JSONValue.Member]] = [:]
        for route in routes {
            if paths[route.pattern] == nil { order.append(route.pattern) }
            let item = JSONValue.Member(route.method.rawValue.lowercased(), operation(route, &schemas))
            paths[route.pattern, default: []].append(item)
        }
        return [
            "openapi": "3.1.0",
            "info": [
                "title": "Roost", "version": .string(version),
                "description": "Runs virtual machines for a computing site.",
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "paths": .object(order.map { JSONValue.Member($0, .object(paths[$0] ?? [])) }),
            "components": [
                "schemas": .object(schemas.sorted),
                "securitySchemes": ["bearer": ["type": "http", "scheme": "bearer", "bearerFormat": "JWT"]],
            ],
        ]
    }

    /// Named objects met on the way.
    struct Components {
        private var values: [String: JSONValue] = [:]

        mutating func add(_ object: ObjectSchema) {
            guard values[object.name] == nil else { return }
            values[object.name] = [:]
            values[object.name] = OpenAPIDocument.object(object, &self)
        }

        var sorted: [JSONValue.Member] { values.sorted { $0.key < $1.key }.map { JSONValue.Member($0.key, $0.value) } }
    }

    static let problem = ObjectSchema(
        "Problem",
        [
            .init("type", .text, required: true, "urn:roost:problem: and the code"),
            .init("title", .text, required: true), .init("status", .integer(100...599), required: true),
            .init("detail", .text, required: true, "a sentence that says what to do"),
            .init("code", .text, required: true),
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

    private static func operation(_ route: Route, _ schemas: inout Components) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init("operationId", .string(route.operationID)), .init("summary", .string(route.summary)),
            .init("x-permission", .string(route.permission.rawValue)), .init("x-reach", reach(route.permission)),
            .init("security", route.permission.isOpen ? [] : [["bearer": []]]),
        ]
        let parameters = parameters(route, &schemas)
        if !parameters.isEmpty { members.append(.init("parameters", .array(parameters))) }
        if let body = body(route.body, &schemas) { members.append(.init("requestBody", body)) }
        var responses: [JSONValue.Member] = []
        for (status, reply) in route.replies {
            let new = response(status, reply, &schemas)
            // A status may carry several types of content.
            if let index = responses.firstIndex(where: { $0.name == String(status) }) {
                responses[index].value = merged(responses[index].value, new)
            } else {
                responses.append(.init(String(status), new))
            }
        }
        if !route.isServed { responses.append(.init("501", refusal("Not served by this version"))) }
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
        [
            "description": .string(description),
            "content": ["application/problem+json": ["schema": ["$ref": "#/components/schemas/Problem"]]],
        ]
    }

    /// One status with several contents: of several types, or of one type in several shapes.
    private static func merged(_ first: JSONValue, _ second: JSONValue) -> JSONValue {
        var content = first["content"]?.members ?? []
        for new in second["content"]?.members ?? [] {
            if let index = content.firstIndex(where: { $0.name == new.name }) {
                let shapes = [content[index].value["schema"] ?? [:], new.value["schema"] ?? [:]]
                content[index].value = ["schema": ["anyOf": .array(shapes)]]
            } else {
                content.append(new)
            }
        }
        return ["description": first["description"] ?? "", "content": .object(content)]
    }

    private static func parameters(_ route: Route, _ schemas: inout Components) -> [JSONValue] {
        var parameters: [JSONValue] = []
        for segment in route.segments {
            guard case .parameter(let name) = segment else { continue }
            let summary = ["ref": "ID or name", "account": "Name of an account"][name] ?? "ID"
            parameters.append([
                "name": .string(name), "in": "path", "required": true, "description": .string(summary),
                "schema": ["type": "string"],
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
                "schema": ["type": "string"],
            ])
        }
        if route.isIdempotent {
            parameters.append([
                "name": "Idempotency-Key", "in": "header",
                "description": "The same key with the same request gets the first answer again.",
                "schema": ["type": "string", "minLength": 1, "maxLength": 255],
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

    private static func body(_ body: Route.Body, _ schemas: inout Components) -> JSONValue? {
        switch body {
        case .none: nil
        case .json(let object): content("application/json", reference(object, &schemas), required: true)
        case .optionalJSON(let object): content("application/json", reference(object, &schemas), required: false)
        case .form(let object):
            content("application/x-www-form-urlencoded", reference(object, &schemas), required: true)
        case .stream:
            content("application/octet-stream", ["type": "string", "format": "binary"], required: true)
        }
    }

    private static func content(_ type: String, _ schema: JSONValue, required: Bool) -> JSONValue {
        ["required": .boolean(required), "content": .object([.init(type, ["schema": schema])])]
    }

    private static func response(_ status: Int, _ reply: Route.Reply, _ schemas: inout Components) -> JSONValue {
        let description = JSONValue.string(HTTPResponse.Status(code: status).reasonPhrase)
        switch reply {
        case .empty: return ["description": description]
        case .one(let object):
            return [
                "description": description, "content": ["application/json": ["schema": reference(object, &schemas)]],
            ]
        case .list(let object):
            let schema: JSONValue = [
                "type": "object", "required": ["items", "next"],
                "properties": [
                    "items": ["type": "array", "items": reference(object, &schemas)],
                    "next": ["type": ["string", "null"], "description": "the 'after' of the next page"],
                ],
            ]
            return ["description": description, "content": ["application/json": ["schema": schema]]]
        case .text(let type):
            return ["description": description, "content": .object([.init(type, ["schema": ["type": "string"]])])]
        }
    }

    private static func reference(_ object: ObjectSchema, _ schemas: inout Components) -> JSONValue {
        schemas.add(object)
        return ["$ref": .string("#/components/schemas/\(object.name)")]
    }

    private static func object(_ object: ObjectSchema, _ schemas: inout Components) -> JSONValue {
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
        members.append(.init("additionalProperties", false))
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
        case .array(let element, let maximum):
            return ["type": "array", "items": value(element, &schemas), "maxItems": .count(maximum)]
        case .map(let element, let maximum):
            return [
                "type": "object", "additionalProperties": value(element, &schemas), "maxProperties": .count(maximum),
            ]
        case .object(let object): return reference(object, &schemas)
        case .nullable(let inner): return ["anyOf": [value(inner, &schemas), ["type": "null"]]]
        case .freeObject: return ["type": "object"]
        }
    }

    private static func text(_ rule: TextRule) -> JSONValue {
        var members: [JSONValue.Member] = [.init("type", "string")]
        if let format = rule.format { members.append(.init("format", .string(format))) }
        if let pattern = rule.pattern { members.append(.init("pattern", .string(pattern))) }
        if rule.format == nil {
            if rule.lengths.lowerBound > 0 { members.append(.init("minLength", .count(rule.lengths.lowerBound))) }
            members.append(.init("maxLength", .count(rule.lengths.upperBound)))
        }
        return .object(members)
    }
}
