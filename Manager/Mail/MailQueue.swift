public import Logging
import ProcessThreads
public import ProtocolModel
public import ServiceLifecycle
import Synchronization

/// Where messages are handed in.
public protocol MailOutlet: Sendable {
    /// Whether no more are taken; to be asked before it is looked up whom to write to, so that the answer tells nothing.
    var isFull: Bool { get }

    /// Takes a message; it is sent soon.
    func add(_ message: MailMessage) throws(MailQueue.Full)
}

/// Messages on their way to the mail server, in order.
///
/// They are in memory alone, since what they hold must not lie anywhere else, such as links that let people in: with the
/// manager they are gone, and those who wait for one ask again. While the server cannot be reached, the first is tried again
/// until it is of no use any more. One that the server does not take yet lets the others pass, and is tried again a few times.
/// When too many wait, no more are taken.
public final class MailQueue: Service, MailOutlet {
    public struct Full: Error, Equatable {
        public init() {}
    }

    private let server: MailServer
    private let time: any TimeSource
    private let logger: Logger
    private let stream: AsyncStream<Letter>
    private let entrance: AsyncStream<Letter>.Continuation
    private let limit: Int
    private let waiting = Mutex(0)
    private let threads = BlockingThreads(name: "mail", threads: 1, limit: 4)
    /// Between two attempts; a test has less patience.
    private let backoff: Backoff
    /// Between two attempts of one that the server does not take yet: long enough for whoever wants to see it come again.
    private let deferral: Backoff

    /// A message, and when it is tried next.
    private struct Letter: Sendable {
        static let maximumDeferrals = 5

        let message: MailMessage
        var deferral: Backoff
    }

    public init(
        _ server: MailServer, limit: Int = 256,
        backoff: Backoff = Backoff(first: .seconds(2), maximum: .seconds(60)),
        deferral: Backoff = Backoff(first: .seconds(120), maximum: .seconds(1800)), time: any TimeSource, logger: Logger
    ) {
        self.server = server
        self.time = time
        self.logger = logger
        self.backoff = backoff
        self.deferral = deferral
        self.limit = limit
        // Whoever waits to be tried again has a place kept.
        (stream, entrance) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(limit))
    }

    public var isFull: Bool { waiting.withLock { $0 >= limit } }

    public func add(_ message: MailMessage) throws(Full) {
        let hasRoom = waiting.withLock { waiting in
            guard waiting < limit else { return false }
            waiting += 1
            return true
        }
        guard hasRoom else { throw Full() }
        entrance.yield(Letter(message: message, deferral: deferral))
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                for await letter in self.stream {
                    guard let (later, pause) = await self.deliver(letter) else {
                        self.waiting.withLock { $0 -= 1 }
                        continue
                    }
                    group.addTask {
                        try? await Task.sleep(for: pause)
                        self.entrance.yield(later)
                    }
                }
                group.cancelAll()
            }
        }
        entrance.finish()
        threads.close()
    }

    /// - Returns: the letter where it is to be tried again behind the others, and after what time.
    private func deliver(_ letter: Letter) async -> (Letter, Duration)? {
        let message = letter.message
        var backoff = backoff
        var random = SystemRandomNumberGenerator()
        var isTold = false
        while !Task.isCancelled {
            guard time.timestamp < message.expiresAt else {
                logger.error("mail given up", metadata: ["subject": "\(message.subject)"])
                return nil
            }
            do {
                try await send(message)
                logger.info("mail sent", metadata: ["subject": "\(message.subject)"])
                return nil
            } catch MailError.deferred(let reason) where letter.deferral.attempts < Letter.maximumDeferrals {
                logger.notice("mail not taken yet", metadata: ["reason": "\(reason)"])
                var later = letter
                let pause = later.deferral.next(using: &random)
                return (later, pause)
            } catch let error as MailError where error.isTransient {
                if !isTold { logger.error("mail not sent yet", metadata: ["reason": "\(error)"]) }
                isTold = true
            } catch {
                // Addresses are people's own affair, and the server's words may hold one; the operator needs them here.
                logger.error("mail not sent", metadata: ["reason": "\(error)"])
                return nil
            }
            try? await Task.sleep(for: backoff.next(using: &random))
        }
        return nil
    }

    private func send(_ message: MailMessage) async throws {
        var random = SystemRandomNumberGenerator()
        let identifier = String(random.next(), radix: 16) + String(random.next(), radix: 16)
        let bytes = message.bytes(from: server.sender, at: time.timestamp, identifier: identifier)
        try await threads.run { [server] in try SMTPTransfer.send(bytes, to: message.to, through: server) }
    }
}
