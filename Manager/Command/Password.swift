import Foundation

/// Reads a password without showing it.
enum Password {
    /// From the first line of a file (`-`: standard input), or else from the person, or standard input.
    static func read(file: String?, prompt: String, twice: Bool = false) throws(Failure) -> String {
        if let file, file != "-" {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8), let line = firstLine(text) else {
                throw .usage("cannot read a password from '\(file)'")
            }
            return line
        }
        guard file == nil, isatty(STDIN_FILENO) == 1 else {
            guard let line = readLine(), !line.isEmpty else { throw .usage("no password came on standard input") }
            return line
        }
        let password = try ask(prompt)
        if twice, try ask("Again: ") != password { throw .usage("the two passwords differ") }
        return password
    }

    static func firstLine(_ text: String) -> String? {
        text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).first.map(String.init)
            .flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func ask(_ prompt: String) throws(Failure) -> String {
        // Before anything is asked: who types at once must not see it, nor lose what they typed.
        let isHidden = Interruption.hideTyping()
        Terminal.writeError(prompt)
        defer {
            Interruption.restoreTerminal()
            if isHidden { Terminal.writeError("\n") }
        }
        guard let line = readLine(), !line.isEmpty else { throw .usage("no password was given") }
        return line
    }
}
