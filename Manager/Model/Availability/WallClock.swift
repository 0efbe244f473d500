import Foundation

/// The clock on the wall of a place: what it shows at a moment, and at which moments it shows something.
///
/// Foundation's zones come with ICU's rules. One question costs a fraction of a microsecond to some microseconds, and a
/// calendar of one host asks about fifty of them, so that callers share an answer among hosts of the same calendar.
struct WallClock {
    private let zone: TimeZone

    /// - Parameter zone: a name of the IANA database, such as `Europe/Berlin`; anything else is `nil`.
    init?(zone name: String) {
        // Abbreviations and offsets would be accepted too, and they know of no daylight-saving time.
        guard name == "UTC" || name.contains("/"), name.utf8.count <= 64, let zone = TimeZone(identifier: name) else {
            return nil
        }
        self.zone = zone
    }

    /// Seconds that the clock is ahead of UTC.
    func offset(at moment: Int64) -> Int64 {
        Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(moment))))
    }

    /// Days and seconds of the day that the clock shows, as days since 1970.
    func reading(at moment: Int64) -> (day: Int64, second: Int64) {
        let local = moment + offset(at: moment)
        let day = local >= 0 ? local / Self.day : (local - Self.day + 1) / Self.day
        return (day, local - day * Self.day)
    }

    /// The first and the last moment at which the clock shows this, in minutes since 1970. They differ where it is put back;
    /// a time that it skips counts as the moment of skipping, which is the first that shows no less.
    func moments(showing minute: Int64) -> (first: Int64, last: Int64) {
        let local = minute * 60
        // No place has changed its clock twice within four days.
        let before = offset(at: local - 2 * Self.day)
        let after = offset(at: local + 2 * Self.day)
        guard before != after else { return (local - before, local - before) }
        let fits = [local - before, local - after].filter { $0 + offset(at: $0) == local }.sorted()
        if let first = fits.first, let last = fits.last { return (first, last) }
        let skipped = change(between: local - 2 * Self.day, and: local + 2 * Self.day)
        return (skipped, skipped)
    }

    /// The first moment of the offset that rules at the end.
    private func change(between start: Int64, and end: Int64) -> Int64 {
        var low = start
        var high = end
        let later = offset(at: end)
        while high - low > 1 {
            let middle = low + (high - low) / 2
            if offset(at: middle) == later { high = middle } else { low = middle }
        }
        return high
    }

    private static let day: Int64 = 86_400
}
