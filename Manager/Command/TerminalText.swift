import RoostClient

extension String {
    /// Without characters that a terminal would obey: names and reasons come from other people.
    var printable: String {
        guard unicodeScalars.contains(where: \.isUnsafeOnTerminal) else { return self }
        var text = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "\n", "\r", "\t": text += " "
            case _ where scalar.isUnsafeOnTerminal: text += "\u{FFFD}"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// Cells that the text takes on a terminal.
    var terminalWidth: Int { reduce(0) { $0 + $1.terminalWidth } }

    /// Filled with spaces, or cut with an ellipsis, to exactly `width` cells.
    func fitted(to width: Int, alignedRight: Bool = false) -> String {
        let own = terminalWidth
        if own <= width {
            let space = String(repeating: " ", count: width - own)
            return alignedRight ? space + self : self + space
        }
        var kept = ""
        var used = 0
        for character in self {
            guard used + character.terminalWidth < width else { break }
            kept.append(character)
            used += character.terminalWidth
        }
        return kept + "…" + String(repeating: " ", count: max(0, width - used - 1))
    }
}

extension Character {
    /// Two for East Asian wide characters and emoji (Unicode Standard Annex 11), else one.
    var terminalWidth: Int {
        guard let scalar = unicodeScalars.first else { return 0 }
        switch scalar.value {
        case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
            0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F680...0x1F6FF, 0x1F900...0x1F9FF,
            0x20000...0x3FFFD:
            return 2
        default: return 1
        }
    }
}
