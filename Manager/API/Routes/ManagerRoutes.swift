import HTTPTypes
import ManagerIdentity
import ManagerModel
import ProtocolModel

/// The managers of the site.
enum ManagerRoutes {
    static let schema = ObjectSchema.answer(
        "Manager",
        [
            ("id", .identifier), ("name", .text), ("role", .choice(["leader", "follower"])),
            ("status", .choice(ManagerStatus.Liveness.allCases.map(\.rawValue))), ("api_address", .text),
            ("agent_address", .text), ("chunk_address", .text), ("version", .text), ("started_at", .time),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/managers", "List the site's managers, who leads, and which are alive", .managerRead,
            query: QueryParameter.page, replies: [(200, .list(schema))]
        ) { call in
            let request = try PageRequest(call.query, list: "managers")
            let rest = try await call.services.managers().sorted { $0.place < $1.place }.filter { status in
                request.after.map { status.place > $0 } ?? true
            }
            return request.document(rest, place: \.place, encode: encode)
        }
    ]

    private static func encode(_ status: ManagerStatus) -> JSONValue {
        let manager = status.manager
        return [
            "id": .text(manager.id), "name": .string(manager.name), "role": status.leads ? "leader" : "follower",
            "status": .string(status.liveness.rawValue), "api_address": .string(manager.apiAddress),
            "agent_address": .string(manager.agentAddress), "chunk_address": .string(manager.chunkAddress),
            "version": .string(manager.version), "started_at": .text(manager.startedAt),
        ]
    }
}

extension ManagerStatus {
    /// Names may be the same.
    fileprivate var place: String { "\(manager.name) \(manager.id)" }
}
