/// A time of the week at which a borrowed host may be used, in the wall-clock time of its place.
public struct AvailabilityWindow: Sendable, Hashable, Codable {
    /// When the host begins to be emptied.
    public enum Drain: Sendable, Hashable, Codable {
        /// So many minutes before the window ends.
        case before(minutes: Int)
        /// When the clock shows this, in minutes since midnight.
        case at(minute: Int)
    }

    /// The days on which it begins.
    public var days: Set<Weekday>
    /// Minutes since midnight, 0 to 1439.
    public var start: Int
    /// Minutes since midnight, 1 to 1440. Not after the start: it is on the next day.
    public var end: Int
    public var drain: Drain
    public var mode: DrainMode

    /// Enough for guests that are asked to shut down, and for forcing off those that do not.
    public static let usualLead = Drain.before(minutes: 10)

    public init(
        days: Set<Weekday>, start: Int, end: Int, drain: Drain = usualLead, mode: DrainMode = .shutdown
    ) {
        self.days = days
        self.start = start
        self.end = end
        self.drain = drain
        self.mode = mode
    }

    /// How long it is where no clock is changed meanwhile.
    var minutes: Int { end > start ? end - start : end + Availability.minutesOfDay - start }

    /// How long before its end, by the clock, the host begins to be emptied.
    var leadMinutes: Int {
        switch drain {
        case .before(let minutes): minutes
        case .at(let minute): (end - minute + Availability.minutesOfDay) % Availability.minutesOfDay
        }
    }
}

/// As ISO 8601 numbers them.
public enum Weekday: Int, Sendable, Hashable, CaseIterable, Codable {
    case monday = 1
    case tuesday, wednesday, thursday, friday, saturday, sunday

    /// 1 January 1970 was a Thursday.
    init(daysSince1970 days: Int64) {
        let fromMonday = Int((days % 7 + 7 + 3) % 7)
        self = Self.allCases[fromMonday]
    }
}
