import Foundation
import Glibc

/// Threads of our own for calls that block, never more than `maximum` at a time.
public final class ThreadGroup: @unchecked Sendable {
    // SAFETY: `running` is read and written only while `condition` is locked.
    private let condition = NSCondition()
    private var running = 0
    private let maximum: Int

    public init(maximum: Int) { self.maximum = maximum }

    /// Runs `body` on a new thread; false where `maximum` threads run already.
    public func start(name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        condition.lock()
        guard running < maximum else {
            condition.unlock()
            return false
        }
        running += 1
        condition.unlock()
        let thread = Thread { [self] in
            Self.ignoreBrokenPipes()
            body()
            condition.lock()
            running -= 1
            condition.broadcast()
            condition.unlock()
        }
        thread.name = name
        thread.stackSize = 1 << 20
        thread.start()
        return true
    }

    /// Returns when no thread of the group runs. Blocks.
    public func waitForAll() {
        condition.lock()
        while running > 0 { condition.wait() }
        condition.unlock()
    }

    /// A peer that closes its socket must give an error, not a signal that ends the process.
    static func ignoreBrokenPipes() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }
}
