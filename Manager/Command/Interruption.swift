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

    private static let state = Mutex(State())

    /// Calls `cancel` at the first signal; leaves at the second, or when tidying up takes too long.
    static func watch(_ cancel: @escaping @Sendable () -> Void) {
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            state.withLock { $0.sources.append(source(of: number, cancel)) }
        }
    }

    private static func source(
        of number: Int32, _ cancel: @escaping @Sendable () -> Void
    ) -> sending any DispatchSourceSignal {
        let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
        source.setEventHandler {
            let (isAsking, isRepeated) = state.withLock { state in
                state.count += 1
                return (state.savedTerminal != nil, state.count > 1)
            }
            restoreTerminal()
            // A prompt waits in read(2) and does not hear of a cancelled task.
            if isAsking || isRepeated { leave() }
            cancel()
            DispatchQueue.global().asyncAfter(deadline: .now() + patience) { leave() }
        }
        source.resume()
        return source
    }

    private static func leave() {
        Terminal.writeError("\n")
        _exit(exitStatus)
    }

    /// Hides what is typed until `restoreTerminal`; false if there is no terminal.
    static func hideTyping() -> Bool {
        var saved = termios()
        guard tcgetattr(STDIN_FILENO, &saved) == 0 else { return false }
        state.withLock { $0.savedTerminal = saved }
        var silent = saved
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
        return true
    }

    static func restoreTerminal() {
        let saved = state.withLock { state in
            defer { state.savedTerminal = nil }
            return state.savedTerminal
        }
        if var saved { tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved) }
    }
}
