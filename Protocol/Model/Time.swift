import Foundation

/// A moment of wall-clock time in UTC, in milliseconds since 1970-01-01. Kept as an integer, so that it survives a
/// database, a frame and JSON without rounding.
public struct Timestamp: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    public static func < (left: Self, right: Self) -> Bool { left.milliseconds < right.milliseconds }

    /// Moves by a duration, at a resolution of one millisecond; saturates at the ends of the range.
    public static func + (left: Self, right: Duration) -> Self {
        let (sum, overflow) = left.milliseconds.addingReportingOverflow(right.milliseconds)
        return Self(milliseconds: overflow ? (right < .zero ? .min : .max) : sum)
    }

    public static func - (left: Self, right: Duration) -> Self { left + (.zero - right) }

    /// The time from `right` to `left`, negative where `left` is earlier.
    public static func - (left: Self, right: Self) -> Duration {
        .milliseconds(left.milliseconds.subtractingReportingOverflow(right.milliseconds).partialValue)
    }

    /// RFC 3339 with milliseconds and `Z`, as in every JSON document of the API.
    public var description: String {
        let (day, rest) = milliseconds.floorDivided(by: 86_400_000)
        let date = CivilDay(daysSince1970: day)
        func pad(_ value: Int64, _ width: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        let hours = rest / 3_600_000
        let minutes = rest / 60_000 % 60
        let seconds = rest / 1000 % 60
        return "\(date)T\(pad(hours, 2)):\(pad(minutes, 2)):\(pad(seconds, 2)).\(pad(rest % 1000, 3))Z"
    }

    /// Reads an RFC 3339 time such as `2026-11-21T10:00:00Z`, with or without fraction, with any offset, or a bare day
    /// `2026-11-21`, which is its midnight in UTC. Anything else is `nil`.
    public init?(_ text: some StringProtocol) {
        if let day = CivilDay(text) {
            self.init(milliseconds: day.daysSince1970 * 86_400_000)
            return
        }
        guard text.utf8.count >= 20, text.utf8.count <= 40, let day = CivilDay(text.prefix(10)) else { return nil }
        var rest = Array(text.utf8.dropFirst(10))
        guard rest[0] == UInt8(ascii: "T") || rest[0] == UInt8(ascii: "t") else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            guard range.upperBound <= rest.count else { return nil }
            var value: Int64 = 0
            for byte in rest[range] {
                guard (48...57).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 48)
            }
            return value
        }
        guard let hour = number(1..<3), rest[3] == UInt8(ascii: ":"), let minute = number(4..<6),
            rest[6] == UInt8(ascii: ":"), let second = number(7..<9), hour < 24, minute < 60, second < 61
        else { return nil }
        var milliseconds = ((day.daysSince1970 * 24 + hour) * 60 + minute) * 60_000 + second * 1000
        rest.removeFirst(9)
        if rest.first == UInt8(ascii: ".") {
            let digits = rest.dropFirst().prefix { (48...57).contains($0) }
            guard !digits.isEmpty else { return nil }
            for (index, digit) in digits.prefix(3).enumerated() {
                milliseconds += Int64(digit - 48) * [100, 10, 1][index]
            }
            rest.removeFirst(1 + digits.count)
        }
        switch rest.first {
        case UInt8(ascii: "Z"), UInt8(ascii: "z"):
            guard rest.count == 1 else { return nil }
        case UInt8(ascii: "+"), UInt8(ascii: "-"):
            guard rest.count == 6, let hours = number(1..<3), rest[3] == UInt8(ascii: ":"), let minutes = number(4..<6),
                hours < 24, minutes < 60
            else { return nil }
            let offset = (hours * 60 + minutes) * 60_000
            milliseconds += rest[0] == UInt8(ascii: "-") ? offset : -offset
        default: return nil
        }
        self.init(milliseconds: milliseconds)
    }

    /// The day in UTC that this moment falls on.
    public var day: CivilDay { CivilDay(daysSince1970: milliseconds.floorDivided(by: 86_400_000).quotient) }
}

/// A day of the Gregorian calendar in UTC.
public struct CivilDay: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let daysSince1970: Int64

    public init(daysSince1970: Int64) { self.daysSince1970 = daysSince1970 }

    public static func < (left: Self, right: Self) -> Bool { left.daysSince1970 < right.daysSince1970 }

    /// The first moment of the day.
    public var start: Timestamp { Timestamp(milliseconds: daysSince1970 * 86_400_000) }

    /// Reads `YYYY-MM-DD`; a day that does not exist is `nil`.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard text.utf8.count == 10, parts.count == 3, parts[0].utf8.count == 4, parts[1].utf8.count == 2,
            text.utf8.allSatisfy({ (48...57).contains($0) || $0 == UInt8(ascii: "-") }),
            let year = Int64(parts[0]), let month = Int64(parts[1]), let day = Int64(parts[2]),
            (1...12).contains(month), day >= 1
        else { return nil }
        // Days from civil: the era begins on 1 March, so that the leap day is the last of its year.
        let shifted = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = shifted.floorDivided(by: 400)
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        self.init(
            daysSince1970: era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468)
        guard description == String(text) else { return nil }
    }

    /// `YYYY-MM-DD`.
    public var description: String {
        let (era, dayOfEra) = (daysSince1970 + 719_468).floorDivided(by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func pad(_ value: Int64, _ width: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        return "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))"
    }
}

/// A moment of a clock that never jumps, as the time since an arbitrary start of this process's host.
public struct Uptime: Hashable, Sendable, Comparable {
    public let sinceStart: Duration

    public init(sinceStart: Duration) { self.sinceStart = sinceStart }

    public static func < (left: Self, right: Self) -> Bool { left.sinceStart < right.sinceStart }
    public static func + (left: Self, right: Duration) -> Self { Self(sinceStart: left.sinceStart + right) }
    public static func - (left: Self, right: Self) -> Duration { left.sinceStart - right.sinceStart }
}

/// Where time comes from. Cores take moments as parameters; only edges hold a source.
public protocol TimeSource: Sendable {
    var timestamp: Timestamp { get }
    var uptime: Uptime { get }
}

/// A moment by both clocks: the wall's, for people, and one that never jumps, for waits.
public struct Moment: Sendable, Hashable {
    public var timestamp: Timestamp
    public var uptime: Uptime

    public init(timestamp: Timestamp, uptime: Uptime) {
        self.timestamp = timestamp
        self.uptime = uptime
    }

    public init(of source: some TimeSource) {
        self.init(timestamp: source.timestamp, uptime: source.uptime)
    }
}

/// The host's own clocks.
public struct SystemTime: TimeSource {
    public init() {}

    public var timestamp: Timestamp {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Timestamp(milliseconds: Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000)
    }

    public var uptime: Uptime {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Uptime(sinceStart: .seconds(Int64(now.tv_sec)) + .nanoseconds(Int64(now.tv_nsec)))
    }
}

extension Duration {
    /// Whole milliseconds, rounded towards zero; saturates.
    public var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        return overflow ? (seconds < 0 ? .min : .max) : product &+ attoseconds / 1_000_000_000_000_000
    }
}

extension Int64 {
    /// Division that rounds down, so that moments before 1970 fall on the right day.
    func floorDivided(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
