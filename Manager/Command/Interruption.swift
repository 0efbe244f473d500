import Dispatch
import Foundation
import Synchronization

/// Ends the command tidily at Ctrl-C and SIGTERM: echo comes back, and what was begun is undone where it can be.
enum Interruption {
    /// As shells report a program that SIGINT ended.
    static let exitStatus: Int32 = 130
    /// How long tidying up may take.
    private static let patience = DispatchTimeInterval.seconds(3)

    private struct State {
        var sources: [any DispatchSourceSignal] = []
        var savedTerminal: termios?
        var count = 0
    }

    // SAFETY: a dispatch source may be used from any thread; the box is only reached under the lock.
    private struct Box: @unchecked Sendable { var state = State() }
    private static let box = Mutex(Box())

    /// Calls `cancel` at the first signal; leaves at the second, or when tidying up takes too long.
    static func watch(_ cancel: @escaping @Sendable () -> Void) {
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                let (isAsking, isRepeated) = box.withLock { box in
                    box.state.count += 1
                    return (box.state.savedTerminal != nil, box.state.count > 1)
                }
                restoreTerminal()
                // A prompt waits in read(2) and does not hear of a cancelled task.
                if isAsking || isRepeated { leave() }
                cancel()
                DispatchQueue.global().asyncAfter(deadline: .now() + patience) { leave() }
            }
            source.resume()
            box.withLock { $0.state.sources.append(source) }
        }
    }

    private static func leave() {
        Terminal.writeError("\n")
        _exit(exitStatus)
    }

    /// Hides what is typed until `restoreTerminal`; false if there is no terminal.
    static func hideTyping() -> Bool {
        var saved = termios()
        guard tcgetattr(STDIN_FILENO, &saved) == 0 else { return false }
        box.withLock { $0.state.savedTerminal = saved }
        var silent = saved
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
        return true
    }

    static func restoreTerminal() {
        let saved = box.withLock { box in
            defer { box.state.savedTerminal = nil }
            return box.state.savedTerminal
        }
        if var saved { tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved) }
    }
}
