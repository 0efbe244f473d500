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

    static func writeError(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
    static func writeOutput(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }
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
