import HTTPTypes
import ManagerIdentity
import ManagerModel
import ProtocolModel

/// The managers of the site.
enum ManagerRoutes {
    static let role = Schema.choice(["leader", "follower"])
    static let status = Schema.choice(ManagerStatus.Liveness.allCases.map(\.rawValue))
    static let schema = ObjectSchema.answer(
        "Manager",
        [
            ("id", .identifier), ("name", .text), ("role", role), ("status", status), ("api_address", .text),
            ("agent_address", .text), ("chunk_address", .text), ("version", .text), ("started_at", .time),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/managers", "List the site's managers, who leads, and which are alive", .managerRead,
            query: Listings.managers.query, replies: [(200, .list(schema))]
        ) { call in
            let request = try Listings.managers.request(call)
            return request.document(request.page(of: try await call.services.managers().map(encode))) { $0 }
        }
    ]

    @Sendable private static func encode(_ status: ManagerStatus) -> JSONValue {
        let manager = status.manager
        return [
            "id": .text(manager.id), "name": .string(manager.name), "role": status.leads ? "leader" : "follower",
            "status": .string(status.liveness.rawValue), "api_address": .string(manager.apiAddress),
            "agent_address": .string(manager.agentAddress), "chunk_address": .string(manager.chunkAddress),
            "version": .string(manager.version), "started_at": .text(manager.startedAt),
        ]
    }
}
