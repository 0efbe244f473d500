import NIOCore
public import NIOHTTP1
import NIOPosix
import Synchronization

/// A small HTTP server on the loopback that answers as a test says, and remembers what it was asked.
public final class LoopbackServer: Sendable {
    public struct Request: Sendable {
        public var method: HTTPMethod
        public var path: String
        public var headers: HTTPHeaders
        public var body: [UInt8]

        public var text: String { String(decoding: body, as: UTF8.self) }
    }

    public struct Reply: Sendable {
        public var status: HTTPResponseStatus
        public var body: String
        public var headers: [(String, String)]
        /// Hang up instead of answering.
        public var hangsUp: Bool

        public init(
            status: HTTPResponseStatus = .ok, body: String = "{}", headers: [(String, String)] = [],
            hangsUp: Bool = false
        ) {
            self.status = status
            self.body = body
            self.headers = headers
            self.hangsUp = hangsUp
        }
    }

    private let channel: any Channel
    private let log: Log
    public var requests: [Request] { log.all.withLock { $0 } }
    public var endpoint: String { "http://127.0.0.1:\(channel.localAddress?.port ?? 0)" }

    private final class Log: Sendable {
        let all = Mutex<[Request]>([])
    }

    /// - Parameter answer: gets the request, and which it is, from 1.
    public init(_ answer: @escaping @Sendable (Request, Int) -> Reply) async throws {
        let log = Log()
        self.log = log
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(log: log, answer: answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    public func close() async throws { try await channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let log: Log
        private let answer: @Sendable (Request, Int) -> Reply
        private var request: Request?

        init(log: Log, answer: @escaping @Sendable (Request, Int) -> Reply) {
            self.log = log
            self.answer = answer
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                request = Request(method: head.method, path: head.uri, headers: head.headers, body: [])
            case .body(let bytes): request?.body += Array(bytes.readableBytesView)
            case .end:
                guard let request else { return }
                let count = log.all.withLock { all in
                    all.append(request)
                    return all.count
                }
                reply(answer(request, count), context)
            }
        }

        private func reply(_ reply: Reply, _ context: ChannelHandlerContext) {
            guard !reply.hangsUp else { return context.close(promise: nil) }
            var head = HTTPResponseHead(version: .http1_1, status: reply.status)
            head.headers.add(name: "content-length", value: "\(reply.body.utf8.count)")
            head.headers.add(name: "etag", value: "\"1\"")
            for (name, value) in reply.headers { head.headers.add(name: name, value: value) }
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: reply.body)))), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }
}
