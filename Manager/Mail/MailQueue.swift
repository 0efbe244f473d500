public import Logging
import ProcessThreads
public import ProtocolModel
public import ServiceLifecycle
import Synchronization

/// Where messages are handed in.
public protocol MailOutlet: Sendable {
    /// Takes a message; it is sent soon.
    func add(_ message: MailMessage) throws(MailQueue.Full)
}

/// Messages on their way to the mail server, in order.
///
/// They are in memory alone, since what they hold must not lie anywhere else, such as links that let people in: with the
/// manager they are gone, and those who wait for one ask again. While the server takes none, the first is tried again until it
/// is of no use any more; when too many wait, no more are taken.
public final class MailQueue: Service, MailOutlet {
    public struct Full: Error, Equatable {
        public init() {}
    }

    private let server: MailServer
    private let time: any TimeSource
    private let logger: Logger
    private let stream: AsyncStream<MailMessage>
    private let entrance: AsyncStream<MailMessage>.Continuation
    private let threads = BlockingThreads(name: "mail", threads: 1, limit: 4)
    /// Between two attempts; a test has less patience.
    private let backoff: Backoff

    public init(
        _ server: MailServer, limit: Int = 256,
        backoff: Backoff = Backoff(first: .seconds(2), maximum: .seconds(60)), time: any TimeSource, logger: Logger
    ) {
        self.server = server
        self.time = time
        self.logger = logger
        self.backoff = backoff
        (stream, entrance) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(limit))
    }

    public func add(_ message: MailMessage) throws(Full) {
        guard case .enqueued = entrance.yield(message) else { throw Full() }
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            for await message in self.stream { await self.deliver(message) }
        }
        entrance.finish()
        threads.close()
    }

    private func deliver(_ message: MailMessage) async {
        var backoff = backoff
        var random = SystemRandomNumberGenerator()
        var isTold = false
        while !Task.isCancelled {
            guard time.timestamp < message.expiresAt else {
                logger.error("mail given up", metadata: ["subject": "\(message.subject)"])
                return
            }
            do {
                try await send(message)
                logger.info("mail sent", metadata: ["subject": "\(message.subject)"])
                return
            } catch let error as MailError where error.isTransient {
                if !isTold { logger.error("mail not sent yet", metadata: ["reason": "\(error)"]) }
                isTold = true
            } catch {
                // Addresses are people's own affair, and the server's words may hold one; the operator needs them here.
                logger.error("mail not sent", metadata: ["reason": "\(error)"])
                return
            }
            try? await Task.sleep(for: backoff.next(using: &random))
        }
    }

    private func send(_ message: MailMessage) async throws {
        var random = SystemRandomNumberGenerator()
        let identifier = String(random.next(), radix: 16) + String(random.next(), radix: 16)
        let bytes = message.bytes(from: server.sender, at: time.timestamp, identifier: identifier)
        try await threads.run { [server] in try SMTPTransfer.send(bytes, to: message.to, through: server) }
    }
}
