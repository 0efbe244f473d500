import Foundation

/// Amounts in the words that people use.
enum Amount {
    static func decimal(_ value: Double, places: Int) -> String { String(format: "%.\(places)f", value) }

    /// In powers of 1024.
    static func bytes(_ bytes: Double) -> String {
        // The number is somebody else's: one that no disk has is not worth a trap.
        guard bytes.isFinite, (0..<1e24).contains(bytes) else { return "-" }
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = bytes
        var unit = 0
        while value >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return unit == 0
            ? "\(Int(value)) B" : "\(decimal(value, places: value < 10 ? 2 : value < 100 ? 1 : 0)) \(units[unit])"
    }

    /// `47s`, `3m05s`, `2h10m`.
    static func seconds(_ seconds: Double) -> String {
        guard (0..<1e9).contains(seconds) else { return "-" }
        let whole = Int(seconds)
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return switch whole {
        case ..<60: "\(whole)s"
        case ..<3600: "\(whole / 60)m\(two(whole % 60))s"
        default: "\(whole / 3600)h\(two(whole % 3600 / 60))m"
        }
    }

    /// `[=====>    ]`
    static func bar(_ share: Double, cells: Int = 24) -> String {
        let full = Int(min(1, max(0, share)) * Double(cells))
        let head = full < cells ? ">" : ""
        return "[" + String(repeating: "=", count: full) + head
            + String(repeating: " ", count: max(0, cells - full - head.count)) + "]"
    }
}
