import Foundation

/// What the process's standard streams are.
struct Terminal: Sendable {
    var outputIsTerminal: Bool
    var errorIsTerminal: Bool
    /// Of standard output in cells, if it is a terminal.
    var width: Int?
    var allowsColours: Bool

    static func current(environment: [String: String] = ProcessInfo.processInfo.environment) -> Terminal {
        let isOutput = isatty(STDOUT_FILENO) == 1
        return Terminal(
            outputIsTerminal: isOutput, errorIsTerminal: isatty(STDERR_FILENO) == 1,
            width: isOutput ? columns(of: STDOUT_FILENO) : nil,
            // https://no-color.org: set and not empty.
            allowsColours: (environment["NO_COLOR"] ?? "").isEmpty && environment["TERM"] != "dumb")
    }

    static func columns(of descriptor: Int32) -> Int? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }

    static func writeError(_ text: String) { write(text, to: STDERR_FILENO) }
    static func writeOutput(_ text: String) { write(text, to: STDOUT_FILENO) }

    private static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                bytes = bytes.dropFirst(count)
            } else if errno == EAGAIN {
                // Somebody gave us a terminal or pipe that does not wait.
                var place = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&place, 1, -1)
            } else if errno != EINTR {
                return fail(descriptor, errno)
            }
        }
    }

    private static func fail(_ descriptor: Int32, _ code: Int32) {
        // Nobody hears what is wrong with the place where errors are said.
        guard descriptor != STDERR_FILENO else { return }
        if code == EPIPE {
            // 'roost … | head' ends here as other programs do; the network's code has the signal ignored.
            signal(SIGPIPE, SIG_DFL)
            raise(SIGPIPE)
        }
        writeError("error: cannot write the answer: \(String(cString: strerror(code)))\n")
        _exit(1)
    }
}

/// Colours by meaning.
enum Colour: String, Sendable {
    case good = "32"
    case bad = "31"
    case changing = "33"

    static func status(_ word: String) -> Colour? {
        switch word {
        case "ACTIVE", "active", "succeeded", "alive", "held": .good
        case "ERROR", "error", "failed", "dead", "down": .bad
        case "QUEUED", "BUILDING", "STOPPING", "REBOOTING", "MIGRATING", "DELETING", "running", "suspect", "fetching",
            "queued", "saving", "converting":
            .changing
        default: nil
        }
    }
}

/// Paints where the terminal takes colours, and leaves text alone elsewhere.
struct Palette: Sendable {
    var isOn: Bool

    func paint(_ text: String, _ colour: Colour?) -> String {
        guard isOn, let colour else { return text }
        return "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m"
    }
}
