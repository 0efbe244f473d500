import Foundation
import Glibc
import Synchronization

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
            // What `top` and profilers show of it; before the thread runs, Foundation has none to name.
            Thread.current.name = name
            body()
            running.update { $0 -= 1 }
        }
        thread.stackSize = 1 << 20
        thread.start()
        return true
    }

    /// Runs `body` on a new thread with something that no other thread uses from here on.
    @discardableResult
    public func start<Owned>(
        name: String, owning owned: sending Owned, _ body: @escaping @Sendable (inout Owned) -> Void
    ) -> Bool {
        let owned = Owner(owned)
        // Held for the thread's whole life: that is what owning means, and nobody else asks.
        return start(name: name) {
            owned.value.withLock { held in
                guard var value = held else { return }
                // Gone before the thread counts as ended: whoever waits for that finds closed what it owned.
                held = nil
                body(&value)
            }
        }
    }

    private final class Owner<Owned>: Sendable {
        let value: Mutex<Owned?>
        init(_ value: sending Owned) { self.value = Mutex(value) }
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
