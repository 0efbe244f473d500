import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle

enum OperationRoutes {
    static let routes: [Route] = [
        Route(
            .get, "/v1/operations", "List operations", .operationRead, query: Listings.operations.query,
            replies: [(200, .list(OperationResource.schema))]
        ) { call in
            let scope = try call.scope(.operationRead)
            let request = try Listings.operations.request(call)
            return try await call.read { transaction in
                let names = Names(transaction)
                let operations = try transaction.operations.list(scope, request.page(call.commands(in: transaction)))
                return try request.document(operations) {
                    try OperationResource.encode($0, names)
                }
            }
        },
        Route(
            .get, "/v1/operations/{id}", "Show an operation, or wait until it ends", .operationRead,
            query: [QueryParameter("wait", .integer(0...60), "Seconds to wait for its end.")],
            replies: [(200, .one(OperationResource.schema))], handler: show),
        Route(
            .post, "/v1/operations/{id}/pause", "Let a prefill stand still", .operationChange,
            replies: [(200, .one(OperationResource.schema))]
        ) { call in try await changed(call) { try $0.pauseOperation($1) } },
        Route(
            .post, "/v1/operations/{id}/resume", "Let a paused prefill go on", .operationChange,
            replies: [(200, .one(OperationResource.schema))]
        ) { call in try await changed(call) { try $0.resumeOperation($1) } },
        Route(
            .post, "/v1/operations/{id}/cancel", "End a prefill before it is done", .operationChange,
            body: .optionalJSON(cancellation), replies: [(200, .one(OperationResource.schema))]
        ) { call in
            try await changed(call) { try $0.cancelOperation($1, drop: call.body["drop"]?.boolean ?? false) }
        },
    ]

    static let cancellation = ObjectSchema(
        "OperationCancellation",
        [.init("drop", .boolean, "remove what came so far; kept for a later prefill if not given")])

    private static func changed(
        _ call: Call, _ change: @escaping @Sendable (Commands, String) throws -> Operation
    ) async throws -> Answer {
        try await call.write { transaction in
            let operation = try change(try call.commands(in: transaction), call.parameter("id"))
            return .document(try OperationResource.encode(operation, Names(transaction)), tag: true)
        }
    }

    @Sendable private static func show(_ call: Call) async throws -> Answer {
        let seconds = call.query.integer("wait") ?? 0
        guard seconds > 0, let id = OperationID(call.parameter("id")) else { return try await current(call).answer }
        // Subscribed before the first look, so that an end in between is not missed.
        let (stream, continuation) = call.services.signals.subscribe(.operation(id))
        defer { continuation.finish() }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try? await cancelWhenGracefulShutdown { try await Task.sleep(for: .seconds(seconds)) }
                continuation.finish()
            }
            defer { group.cancelAll() }
            var found = try await current(call)
            guard found.isRunning else { return found.answer }
            var changes = stream.makeAsyncIterator()
            while found.isRunning, await changes.next() != nil { found = try await current(call) }
            if found.isRunning { found = try await current(call) }
            try await call.checkIsStillAllowed()
            return found.answer
        }
    }

    private struct Found: Sendable {
        var isRunning: Bool
        var answer: Answer
    }

    private static func current(_ call: Call) async throws -> Found {
        try await call.read { transaction in
            let operation = try call.commands(in: transaction).operation(call.parameter("id"))
            let value = try OperationResource.encode(operation, Names(transaction))
            return Found(isRunning: operation.status == .running, answer: call.resource(value))
        }
    }
}
