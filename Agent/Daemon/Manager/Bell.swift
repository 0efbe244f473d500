/// Tells one waiter that there is something to do; rung twice, it is heard once.
final class Bell: Sendable {
    private let mailbox = Mailbox<Void>(bound: 1)

    func ring() { _ = mailbox.offer(()) }

    /// Returns when it was rung since the last time, or when the task is cancelled.
    func heard() async {
        await mailbox.wait()
        _ = mailbox.takeAll()
    }

    /// The same, but not longer than this.
    func heard(within limit: Duration) async {
        await mailbox.wait(atMost: limit)
        _ = mailbox.takeAll()
    }
}
