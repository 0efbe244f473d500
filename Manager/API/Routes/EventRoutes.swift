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
            .get, "/v1/events", "What happened, and who did it: a page, or a stream of server-sent events", .eventRead,
            query: [
                QueryParameter.limit,
                QueryParameter(
                    "after", .integer(0...Int64.max),
                    "The sequence number after which to begin; 410 where events after it were pruned already, or it is yet to come."
                ),
                QueryParameter("actor", .reference, "Only what this user did, by ID or name."),
                QueryParameter("resource", .reference, "Only what happened to this, by ID or name."),
                QueryParameter(
                    "kind", .line(1...64), "Only events of this kind, or of the kinds that begin with this word."),
                QueryParameter("request", .line(1...64), "Only what this request did: the X-Request-ID of its answer."),
                QueryParameter("operation", .identifier, "Only the events of this operation."),
                QueryParameter("since", .line(10...40), "Only events of this time or later."),
                QueryParameter("until", .line(10...40), "Only events before this time."),
                QueryParameter("address", .line(1...64), "Only what was asked for from this address."),
                QueryParameter("credential", .line(1...64), "Only what was done by this session or API key."),
                QueryParameter("impersonator", .reference, "Only what this user did as another, by ID or name."),
                QueryParameter(
                    "outcome", .choice(Event.Outcome.allCases.map(\.rawValue)), "Only what was done, or was refused."),
            ],
            replies: [(200, .list(EventResource.schema)), (200, .text(type: "text/event-stream"))],
            headers: [
                .init(
                    lastEventID, "The id of the last event that a stream brought: what came after it follows.",
                    pattern: "^[0-9]{1,18}$")
            ], handler: events)
    ]
    private static let lastEventID = "Last-Event-ID"

    @Sendable private static func events(_ call: Call) async throws -> Answer {
        let scope = try call.scope(.eventRead)
        let filter = try filter(call)
        let wantsStream = call.headers[.accept]?.lowercased().contains("text/event-stream") == true
        let lastSeen = try lastSeen(call)
        guard wantsStream, call.method == .get else {
            return try await page(call, scope, filter)
        }
        let after = try await start(call, lastSeen)
        guard call.services.streams.hasRoom(for: call.principal?.userID) else {
            throw Refusal(.busy, "too many event streams are open; close some, or ask for pages instead")
        }
        return Answer(
            status: 200,
            body: .stream(type: "text/event-stream") { writer in
                guard call.services.streams.enter(call.principal?.userID) else { return }
                defer { call.services.streams.leave(call.principal?.userID) }
                try await stream(call, scope, filter, after: after, to: &writer)
            })
    }

    private static func filter(_ call: Call) throws(Refusal) -> EventRepository.Filter {
        var filter = EventRepository.Filter()
        filter.actor = call.query.string("actor")
        filter.resource = call.query.string("resource")
        filter.kind = call.query.string("kind")
        filter.request = call.query.string("request")
        if let text = call.query.string("operation") {
            guard let operation = OperationID(text) else {
                throw Refusal(
                    .invalidRequest, "'operation' is not the ID of an operation",
                    fields: [.init(pointer: "?operation", detail: "must be the ID of an operation")])
            }
            filter.operation = operation
        }
        filter.since = try time("since", call)
        filter.until = try time("until", call)
        filter.address = call.query.string("address")
        filter.credential = call.query.string("credential")
        filter.impersonator = call.query.string("impersonator")
        filter.outcome = call.query.string("outcome").flatMap(Event.Outcome.init(rawValue:))
        return filter
    }

    private static func time(_ name: String, _ call: Call) throws(Refusal) -> Timestamp? {
        guard let text = call.query.string(name) else { return nil }
        guard let moment = Timestamp(text) else {
            throw Refusal(
                .invalidRequest, "'\(name)' is not a time",
                fields: [.init(pointer: "?\(name)", detail: "must be a day or a time such as 2026-11-21T10:00:00Z")])
        }
        return moment
    }

    /// Whoever goes on from an event must not miss one without being told (0 asks for all that is kept).
    private static func check(_ after: Int64, in transaction: Transaction) throws {
        let last = try transaction.events.lastSequence()
        guard after <= last else {
            throw Refusal(
                .eventsPruned,
                "there is no event number \(after); the newest is number \(last), as where an older record was restored; read "
                    + "the resources anew and go on with after=\(last)")
        }
        let first = try transaction.events.firstSequence()
        guard after == 0 || after >= first - 1 else {
            throw Refusal(
                .eventsPruned,
                "events up to number \(first - 1) are kept no longer, so what followed number \(after) is not complete; "
                    + "read the resources anew and go on with after=\(first - 1)")
        }
    }

    private static func page(
        _ call: Call, _ scope: Scope, _ filter: EventRepository.Filter
    ) async throws -> Answer {
        let limit = call.query.integer("limit") ?? ListWords.usualLimit
        let after = Int64(call.query.integer("after") ?? 0)
        try await catchUp(with: after, call)
        return try await call.read { transaction in
            try check(after, in: transaction)
            let events = try transaction.events.list(after: after, scope, filter, limit: limit + 1)
            let shown = events.prefix(limit)
            let next = events.count > limit ? shown.last.map { String($0.sequence) } : nil
            return .document(["items": .array(shown.map(EventResource.encode)), "next": .text(next)])
        }
    }

    /// A client that comes back says what it saw last; a new one begins now.
    private static func start(_ call: Call, _ lastSeen: Int64?) async throws -> Int64 {
        if let lastSeen { return try await checked(lastSeen, call) }
        if let after = call.query.integer("after") { return try await checked(Int64(after), call) }
        return try await call.read { try $0.events.lastSequence() }
    }

    /// A page begins where `after` says; what is wrong with the header does not depend on what is asked for.
    private static func lastSeen(_ call: Call) throws(Refusal) -> Int64? {
        guard let text = call.header(lastEventID) else { return nil }
        guard (1...18).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            let sequence = Int64(text)
        else {
            throw Refusal(.invalidRequest, "the header \(lastEventID) must be the id of an event of this stream")
        }
        return sequence
    }

    private static func checked(_ after: Int64, _ call: Call) async throws -> Int64 {
        try await catchUp(with: after, call)
        try await call.read { try check(after, in: $0) }
        return after
    }

    /// The database's server that this manager reads from may be a moment behind the one that told the client of the event.
    private static func catchUp(with after: Int64, _ call: Call) async throws {
        guard call.services.store.isShared else { return }
        for _ in 0..<20 {
            guard try await call.read({ try $0.events.lastSequence() }) < after else { return }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private static func stream(
        _ call: Call, _ scope: Scope, _ filter: EventRepository.Filter, after: Int64,
        to writer: inout any ResponseBodyWriter
    ) async throws {
        let (signals, continuation) = call.services.signals.subscribe(.events)
        defer { continuation.finish() }
        try await writer.write(comment("roost events", at: after))
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
            try await pump(call, scope, filter, after: after, signals, to: &writer)
        }
    }

    private static func pump(
        _ call: Call, _ scope: Scope, _ filter: EventRepository.Filter, after: Int64,
        _ signals: AsyncStream<Void>, to writer: inout any ResponseBodyWriter
    ) async throws {
        var last = after
        var isFirst = true
        var written = call.services.time.uptime
        var iterator = signals.makeAsyncIterator()
        while true {
            if !isFirst { guard await iterator.next() != nil else { return } }
            isFirst = false
            // Whoever may see it is asked anew: a stream must not outlive the right to read it (P9).
            guard try await isStillAllowed(call) else { return }
            while true {
                let from = last
                let (events, newest) = try await call.read {
                    (try $0.events.list(after: from, scope, filter, limit: batch), try $0.events.lastSequence())
                }
                for event in events {
                    try await writer.write(frame(event))
                    last = event.sequence
                    written = call.services.time.uptime
                }
                if events.count < batch {
                    // What was passed over need not be looked at again.
                    last = max(last, newest)
                    break
                }
            }
            if call.services.time.uptime - written >= keepAlive {
                try await writer.write(comment("", at: last))
                written = call.services.time.uptime
            }
        }
    }

    private static func isStillAllowed(_ call: Call) async throws -> Bool {
        do {
            try await call.checkIsStillAllowed()
            return true
        } catch is IdentityError {
            return false
        }
    }

    /// Says where to go on, also to whom nothing concerned has happened yet.
    private static func comment(_ text: String, at last: Int64) -> ByteBuffer {
        ByteBuffer(string: "id: \(last)\n:\(text.isEmpty ? "" : " " + text)\n\n")
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
