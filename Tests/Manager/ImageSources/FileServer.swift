import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// A small web server on the loopback that answers as a test says, and may break off in the middle.
final class FileServer: Sendable {
    struct Request: Sendable {
        var path: String
        var headers: HTTPHeaders
        /// Which request it is, from 1.
        var number: Int
    }

    struct Reply: Sendable {
        var status: HTTPResponseStatus = .ok
        var headers: HTTPHeaders = [:]
        var body: [UInt8] = []
        /// Hangs up after so many bytes of the body.
        var breaksOffAt: Int?
        /// Sends the body and then nothing more, without an end.
        var stalls = false
    }

    private let channel: any Channel
    private let seen = Log()

    private final class Log: Sendable {
        let requests = Mutex<[Request]>([])
    }

    var requests: [Request] { seen.requests.withLock { $0 } }
    var port: Int { channel.localAddress?.port ?? 0 }

    init(tls: NIOSSLContext? = nil, _ answer: @escaping @Sendable (Request) -> Reply) async throws {
        let seen = seen
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(seen: seen, answer: answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    func close() async { try? await channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let seen: Log
        private let answer: @Sendable (Request) -> Reply

        init(seen: Log, answer: @escaping @Sendable (Request) -> Reply) {
            self.seen = seen
            self.answer = answer
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .head(let head) = unwrapInboundIn(data) else { return }
            let request = seen.requests.withLock { requests in
                let request = Request(path: head.uri, headers: head.headers, number: requests.count + 1)
                requests.append(request)
                return request
            }
            let reply = answer(request)
            var answer = HTTPResponseHead(version: .http1_1, status: reply.status, headers: reply.headers)
            if !answer.headers.contains(name: "content-length"), !reply.stalls {
                answer.headers.add(name: "content-length", value: "\(reply.body.count)")
            }
            context.write(wrapOutboundOut(.head(answer)), promise: nil)
            let body = ByteBuffer(bytes: reply.body.prefix(reply.breaksOffAt ?? reply.body.count))
            let channel = context.channel
            let written = context.eventLoop.makePromise(of: Void.self)
            context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(body))), promise: written)
            if reply.breaksOffAt != nil {
                written.futureResult.whenComplete { _ in channel.close(promise: nil) }
            } else if !reply.stalls {
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            }
        }

        // A client that hangs up is no failure of the server.
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
