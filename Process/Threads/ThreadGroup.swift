import Foundation
import Glibc

/// Threads of our own for calls that block, never more than `maximum` at a time.
public final class ThreadGroup: Sendable {
    private let running = Monitor(0)
    private let maximum: Int

    public init(maximum: Int) { self.maximum = maximum }

    /// Runs `body` on a new thread; false where `maximum` threads run already.
    @discardableResult
    public func start(name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        let isFree = running.withLock { running in
            guard running < maximum else { return false }
            running += 1
            return true
        }
        guard isFree else { return false }
        let thread = Thread { [running] in
            Self.ignoreBrokenPipes()
            body()
            running.update { $0 -= 1 }
        }
        thread.name = name
        thread.stackSize = 1 << 20
        thread.start()
        return true
    }

    /// Returns when no thread of the group runs. Blocks: not for Swift's cooperative threads.
    public func waitForAll() {
        _ = running.wait { $0 == 0 ? true : nil }
    }

    /// A peer that closes its socket must give an error, not a signal that ends the process.
    private static func ignoreBrokenPipes() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }
}
