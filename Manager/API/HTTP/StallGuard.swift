import NIOCore

/// Closes a connection whose client does not read what it asked for: an answer that waits for such a client holds
/// memory and a place among the connections.
final class StallGuard: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = Never

    private let limit: TimeAmount
    private var waiting = 0
    private var check: Scheduled<Void>?
    private var progress = 0
    private var seenProgress = 0

    init(limit: TimeAmount) { self.limit = limit }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let promise = promise ?? context.eventLoop.makePromise(of: Void.self)
        waiting += 1
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        promise.futureResult.whenComplete { _ in
            bound.value.waiting -= 1
            bound.value.progress += 1
        }
        context.write(data, promise: promise)
        scheduleCheck(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        check?.cancel()
        check = nil
    }

    private func scheduleCheck(_ context: ChannelHandlerContext) {
        guard check == nil else { return }
        seenProgress = progress
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        check = context.eventLoop.scheduleTask(in: limit) {
            let (guardian, context) = bound.value
            guardian.check = nil
            guard guardian.waiting > 0 else { return }
            if guardian.progress == guardian.seenProgress {
                context.close(promise: nil)
            } else {
                guardian.scheduleCheck(context)
            }
        }
    }
}
