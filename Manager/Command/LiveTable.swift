import Foundation
import RoostClient

/// Lines on standard error that are drawn again and again in the same place.
final class LiveTable {
    private let printer: Printer
    private var drawn = 0

    init(_ printer: Printer) { self.printer = printer }

    /// Draws as many lines as the terminal holds.
    func draw(_ lines: [String]) {
        guard printer.showsProgress else { return }
        var size = winsize()
        let isKnown = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 2 && size.ws_col > 0
        let rows = isKnown ? Int(size.ws_row) - 1 : 23
        let width = isKnown ? Int(size.ws_col) - 1 : 79
        var shown = Array(lines.prefix(rows))
        if lines.count > rows { shown[rows - 1] = "… and \(lines.count - rows + 1) more" }
        let text = shown.map { ($0.terminalWidth > width ? $0.fitted(to: width) : $0) + "\n" }.joined()
        Terminal.writeError(start + text)
        drawn = shown.count
    }

    /// Takes the lines away.
    func erase() {
        guard drawn > 0 else { return }
        Terminal.writeError(start)
        drawn = 0
    }

    /// Back to the first line, and everything from there wiped.
    private var start: String { drawn > 0 ? "\u{1B}[\(drawn)A\r\u{1B}[J" : "" }
}
