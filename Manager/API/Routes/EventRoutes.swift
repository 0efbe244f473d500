import HTTPTypes
import Hummingbird
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolModel
import ServiceLifecycle

enum EventRoutes {
    /// Between two comments that keep a silent stream alive.
    static let keepAlive = Duration.seconds(15)
    static let batch = 200

    static let routes: [Route] = [
        Route(
            .get, "/v1/events", "What happened: a page, or a stream of server-sent events", .eventRead,
            query: [
                QueryParameter.limit,
                QueryParameter("after", .integer(0...Int64.max), "The sequence number after which to begin."),
            ],
            replies: [(200, .list(EventResource.schema)), (200, .text(type: "text/event-stream"))], handler: events)
    ]

    @Sendable private static func events(_ call: Call) async throws -> Answer {
        let scope = try call.scope(.eventRead)
        let wantsStream = call.headers[.accept]?.lowercased().contains("text/event-stream") == true
        guard wantsStream, call.method == .get else { return try await page(call, scope) }
        let after = try await start(call)
        guard call.services.streams.hasRoom(for: call.principal?.userID) else {
            throw Refusal(.busy, "too many event streams are open; close some, or ask for pages instead")
        }
        return Answer(
            status: 200,
            body: .stream(type: "text/event-stream") { writer in
                guard call.services.streams.enter(call.principal?.userID) else { return }
                defer { call.services.streams.leave(call.principal?.userID) }
                try await stream(call, scope, after: after, to: &writer)
            })
    }

    private static func page(_ call: Call, _ scope: UserID?) async throws -> Answer {
        let limit = call.query.integer("limit") ?? PageRequest.usual
        let after = Int64(call.query.integer("after") ?? 0)
        return try await call.read { transaction in
            let events = try transaction.events.list(after: after, owner: scope, limit: limit + 1)
            let shown = events.prefix(limit)
            let next = events.count > limit ? shown.last.map { String($0.sequence) } : nil
            return .document(["items": .array(shown.map(EventResource.encode)), "next": .text(next)])
        }
    }

    /// A client that comes back says what it saw last; a new one begins now.
    private static func start(_ call: Call) async throws -> Int64 {
        if let name = HTTPField.Name("Last-Event-ID"), let text = call.headers[name] {
            guard let sequence = Int64(text), sequence >= 0 else {
                throw Refusal(.invalidRequest, "the header Last-Event-ID must be the id of an event of this stream")
            }
            return sequence
        }
        if let after = call.query.integer("after") { return Int64(after) }
        return try await call.read { try $0.events.lastSequence() }
    }

    private static func stream(
        _ call: Call, _ scope: UserID?, after: Int64, to writer: inout any ResponseBodyWriter
    ) async throws {
        let began = call.now
        let (signals, continuation) = call.services.signals.subscribe(.events)
        defer { continuation.finish() }
        try await writer.write(ByteBuffer(string: ": roost events\n\n"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try? await cancelWhenGracefulShutdown {
                    while true {
                        try await Task.sleep(for: keepAlive)
                        continuation.yield()
                    }
                }
                // The manager stops, or the client went away.
                continuation.finish()
            }
            defer { group.cancelAll() }
            try await pump(call, scope, after: after, since: began, signals, to: &writer)
        }
    }

    private static func pump(
        _ call: Call, _ scope: UserID?, after: Int64, since began: Timestamp, _ signals: AsyncStream<Void>,
        to writer: inout any ResponseBodyWriter
    ) async throws {
        var last = after
        var isFirst = true
        var written = call.services.time.uptime
        var iterator = signals.makeAsyncIterator()
        while true {
            if !isFirst { guard await iterator.next() != nil else { return } }
            isFirst = false
            // Whoever may see it is asked anew: a stream must not outlive the right to read it (P9).
            guard try await isStillAllowed(call, since: began) else { return }
            while true {
                let from = last
                let events = try await call.read { try $0.events.list(after: from, owner: scope, limit: batch) }
                for event in events {
                    try await writer.write(frame(event))
                    last = event.sequence
                    written = call.services.time.uptime
                }
                if events.count < batch { break }
            }
            if call.services.time.uptime - written >= keepAlive {
                try await writer.write(ByteBuffer(string: ":\n\n"))
                written = call.services.time.uptime
            }
        }
    }

    private static func isStillAllowed(_ call: Call, since began: Timestamp) async throws -> Bool {
        guard let principal = call.principal,
            let user = try await call.read({ try $0.users.find(principal.userID) })
        else { return false }
        // A new password, too, ends what was begun with the old one.
        return user.enabled && user.role == principal.role && user.tokensValidAfter <= began
    }

    private static func frame(_ event: Event) -> ByteBuffer {
        var buffer = ByteBuffer()
        // JSON escapes line ends, so the data is one line; the kind is one of ours.
        buffer.writeString("id: \(event.sequence)\nevent: \(event.kind)\ndata: ")
        buffer.writeBytes(EventResource.encode(event).bytes)
        buffer.writeString("\n\n")
        return buffer
    }
}
