import HTTPTypes
import ManagerLifecycle
import ManagerModel
import ManagerPlacement
import ManagerStore

/// Why instances go where they go, for who may choose nodes.
enum PlacementRoutes {
    private static let references = Schema.array(.reference, maximum: 10_000)
    static let question = ObjectSchema(
        "PlacementQuestion",
        [
            .init("flavor", .reference, required: true), .init("image", .nullable(.reference)),
            .init("nodes", references, "only these"), .init("exclude_nodes", references, "not these"),
            .init("availability_zone", .nullable(.line(1...255))),
            .init("server_group", .nullable(.reference), "with the instances that are in it now"),
            .init(
                "priority",
                .integer(Int64(QueueEntry.priorities.lowerBound)...Int64(QueueEntry.priorities.upperBound)),
                "with which it would wait"),
            .init("preemptible", .boolean, "as one that yields to others"),
            .init("limit", .integer(1...1000), "names for each filter, and nodes in the ranking; 20 if not given"),
        ])
    static let removal = ObjectSchema.answer(
        "PlacementRemoval", [("filter", .text), ("removed", .count), ("nodes", .array(.text, maximum: 1000))])
    private static let amount = Schema.number(-Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude)
    static let candidate = ObjectSchema.answer(
        "PlacementCandidate",
        [
            ("node", .text), ("weight", amount), ("room", amount), ("image", amount), ("host", amount),
            ("group", amount), ("devices", amount),
        ])
    static let yielding = ObjectSchema.answer(
        "PlacementYielding", [("node", .text), ("instances", .array(.text, maximum: 1000))])
    static let explanation = ObjectSchema.answer(
        "PlacementExplanation",
        [
            ("nodes", .count), ("candidates", .count), ("filters", .array(.object(removal), maximum: 100)),
            ("ranking", .array(.object(candidate), maximum: 1000)), ("possible", .boolean), ("queue_length", .count),
            ("queue_position", .nullable(.count)), ("yielding", .nullable(.object(yielding))),
        ])

    static let routes: [Route] = [
        Route(
            .post, "/v1/placement/explain",
            "Say which nodes each filter removes for an instance, and what the others weigh; nothing is claimed",
            .instancePin, body: .json(question), replies: [(200, .one(explanation))]
        ) { call in
            let body = call.body
            func names(_ field: String) -> [String] { body[field]?.array?.compactMap(\.string) ?? [] }
            let wish = PlacementWish(
                nodes: names("nodes"), excludedNodes: names("exclude_nodes"),
                availabilityZone: body["availability_zone"]?.string)
            return try await call.read { transaction in
                let outlook = try call.commands(in: transaction).explainPlacement(
                    flavor: body.text("flavor"), image: body["image"]?.string,
                    serverGroup: body["server_group"]?.string, wish, limit: body.count("limit") ?? 20,
                    priority: Int(body["priority"]?.integer ?? 0),
                    isPreemptible: body["preemptible"]?.boolean ?? false)
                return .document(encode(outlook))
            }
        }
    ]

    private static func encode(_ outlook: PlacementOutlook) -> JSONValue {
        let explanation = outlook.explanation
        let filters = explanation.removals.map { removal -> JSONValue in
            [
                "filter": .string(removal.filter.rawValue), "removed": .count(removal.hosts),
                "nodes": .texts(removal.names),
            ]
        }
        let ranking = explanation.ranking.map { candidate -> JSONValue in
            let weight = candidate.weight
            return [
                "node": .string(candidate.name), "weight": .decimal(weight.sum), "room": .decimal(weight.room),
                "image": .decimal(weight.image), "host": .decimal(weight.host), "group": .decimal(weight.group),
                "devices": .decimal(weight.devices),
            ]
        }
        return [
            "nodes": .count(explanation.hosts), "candidates": .count(explanation.candidates),
            "filters": .array(filters), "ranking": .array(ranking), "possible": .boolean(outlook.isPossible),
            "queue_length": .count(outlook.queueLength), "queue_position": .count(outlook.queuePosition),
            "yielding": outlook.yielding.map { ["node": .string($0.node), "instances": .texts($0.instances)] } ?? .null,
        ]
    }
}
