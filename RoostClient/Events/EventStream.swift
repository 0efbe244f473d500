import AsyncHTTPClient
import NIOCore

/// Events as they happen, without an end. Whenever the connection ends, it is made again behind the last event seen, so that
/// none is missed and none comes twice; where that fails for longer than the patience, the failure is thrown.
///
/// Nothing is read ahead of who iterates: a slow reader slows the manager's stream, and fills no memory.
public struct EventStream<Element: Sendable>: AsyncSequence, Sendable {
    /// ``ClientError``, or `CancellationError`.
    public typealias Failure = any Error

    let client: RoostClient
    /// With its query.
    let path: String
    /// Sequence number of the event to go on after; `nil` for new ones only.
    let after: String?
    /// How long a manager that does not answer is waited for.
    let patience: Duration
    /// Before a connection is made again.
    let pause: Duration
    let decode: @Sendable (String) throws(ClientError) -> Element

    /// A reader of its own, with a connection of its own.
    public func makeAsyncIterator() -> Iterator { Iterator(stream: self, last: after) }

    /// One reader's place in the stream.
    public struct Iterator: AsyncIteratorProtocol {
        let stream: EventStream
        private var last: String?
        private var parser = ServerSentEvents()
        private var waiting: ArraySlice<ServerSentEvents.Event> = []
        private var chunks: HTTPClientResponse.Body.AsyncIterator?
        private var failingSince: ContinuousClock.Instant?
        private var hasConnected = false

        init(stream: EventStream, last: String?) {
            self.stream = stream
            self.last = last
        }

        /// Waits for the next event; there is always one.
        public mutating func next() async throws -> Element? {
            while true {
                if let event = waiting.popFirst() {
                    if !event.id.isEmpty { last = event.id }
                    return try stream.decode(event.data)
                }
                // Also behind what concerned others, of which only the ID came.
                if !parser.lastID.isEmpty { last = parser.lastID }
                try Task.checkCancellation()
                do {
                    try await readChunk()
                } catch let error as ClientError {
                    chunks = nil
                    try endure(error)
                    try await Task.sleep(for: stream.pause)
                }
            }
        }

        private mutating func readChunk() async throws {
            guard var open = chunks else {
                var headers = [("accept", "text/event-stream")]
                if let last { headers.append(("last-event-id", last)) }
                parser = ServerSentEvents()
                chunks = try await stream.client.open(stream.path, headers: headers).makeAsyncIterator()
                hasConnected = true
                return
            }
            let chunk = try await stream.client.reached { try await open.next() }
            chunks = open
            guard let chunk else {
                // The manager ends streams when it is stopped, and when a token has run out.
                chunks = nil
                return try await Task.sleep(for: stream.pause)
            }
            failingSince = nil
            waiting = try parser.feed(chunk.readableBytesView)[...]
        }

        /// - Throws: the error, where it does not pass or has lasted too long.
        private mutating func endure(_ error: ClientError) throws {
            let mayPass =
                switch error {
                case .connection: true
                // Between two leaders, say; whoever was never let in is told at once.
                case .problem(let problem): hasConnected && [429, 502, 503, 504].contains(problem.status)
                default: false
                }
            let since = failingSince ?? .now
            failingSince = since
            guard mayPass, .now - since < stream.patience else { throw error }
        }
    }
}

@available(*, unavailable)
extension EventStream.Iterator: Sendable {}
