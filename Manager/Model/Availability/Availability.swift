public import ProtocolModel

/// When a borrowed host may be used: windows of the week at one place, and who wants it so.
///
/// Pure: the same question has the same answer, whatever was asked before, so that a clock that jumps does no more than
/// ask about another time. Where the clock of the place is put back, a time that it shows twice begins a window the second
/// time and ends it the first time: a host is never used too early or too long. A time that is skipped is the moment of
/// skipping. Windows that touch or overlap are one.
public struct Availability: Sendable, Hashable, Codable {
    public enum State: Sendable, Hashable {
        case open(drainsAt: Timestamp?)
        /// The host is to be empty at `endsAt`.
        case draining(endsAt: Timestamp, mode: DrainMode)
        case closed(opensAt: Timestamp?)

        public var opensAt: Timestamp? { if case .closed(let opensAt) = self { opensAt } else { nil } }
    }

    public var windows: [AvailabilityWindow]
    /// A name of the IANA database.
    public var timeZone: String
    public var owner: String
    public var reason: String

    public init(windows: [AvailabilityWindow], timeZone: String, owner: String = "", reason: String = "") {
        self.windows = windows
        self.timeZone = timeZone
        self.owner = owner
        self.reason = reason
    }

    static let minutesOfDay = 1440

    /// Windows become one as long as they touch; what is open for a week is open for ever.
    private static let daysAhead: Int64 = 9

    /// - Returns: `nil` where the host does not know the time zone, so that nobody can tell.
    public func state(at now: Timestamp) -> State? {
        guard let clock = WallClock(zone: timeZone) else { return nil }
        let second = Self.seconds(now)
        let spans = spans(around: second, clock)
        let horizon = second + (Self.daysAhead - 1) * 86_400
        if let span = spans.first(where: { $0.start <= second && second < $0.end }) {
            if second >= span.drain { return .draining(endsAt: Self.timestamp(span.end), mode: span.mode) }
            return .open(drainsAt: span.end > horizon ? nil : Self.timestamp(span.drain))
        }
        let next = spans.first { $0.start > second && $0.start < $0.drain }
        return .closed(opensAt: next.map { Self.timestamp($0.start) })
    }

    /// When the state becomes another one; `nil`: never.
    public func nextChange(after now: Timestamp) -> Timestamp? {
        switch state(at: now) {
        case .open(let drainsAt): drainsAt
        case .draining(let endsAt, _): endsAt
        case .closed(let opensAt): opensAt
        case .none: nil
        }
    }

    private struct Span {
        var start: Int64
        var drain: Int64
        var end: Int64
        var mode: DrainMode
    }

    /// All windows near a moment, in order, those that touch joined.
    private func spans(around second: Int64, _ clock: WallClock) -> [Span] {
        let today = clock.reading(at: second).day
        var found: [Reading] = []
        for day in (today - 2)...(today + Self.daysAhead) {
            let weekday = Weekday(daysSince1970: day)
            found += windows.filter { $0.days.contains(weekday) }.map { Reading(of: $0, on: day) }
        }
        found.sort { ($0.start, $0.end) < ($1.start, $1.end) }
        var joined: [Reading] = []
        // By what the clock shows: where it is put back at midnight, Saturday and Sunday still touch.
        for next in found {
            guard var last = joined.last, next.start <= last.end else {
                joined.append(next)
                continue
            }
            // Who ends last says how it ends; of several, the one that begins to be emptied earliest.
            if next.end > last.end || (next.end == last.end && next.window.leadMinutes > last.window.leadMinutes) {
                last.end = next.end
                last.window = next.window
                joined[joined.count - 1] = last
            }
        }
        return joined.compactMap { span(of: $0, clock) }
    }

    /// A time that windows cover, as the clock shows it: in minutes since 1970.
    private struct Reading {
        var start: Int64
        var end: Int64
        /// The one that ends it.
        var window: AvailabilityWindow

        init(of window: AvailabilityWindow, on day: Int64) {
            start = day * Int64(Availability.minutesOfDay) + Int64(window.start)
            end = start + Int64(window.minutes)
            self.window = window
        }
    }

    private func span(of reading: Reading, _ clock: WallClock) -> Span? {
        let start = clock.moments(showing: reading.start).last
        let end = clock.moments(showing: reading.end).first
        guard start < end else { return nil }
        let lead = Int64(reading.window.leadMinutes)
        let drain =
            switch reading.window.drain {
            case .before: end - lead * 60
            case .at: clock.moments(showing: reading.end - lead).first
            }
        return Span(start: start, drain: min(end, max(start, drain)), end: end, mode: reading.window.mode)
    }

    /// A part of a second counts as the second that it is in: what begins in full seconds begins no earlier.
    private static func seconds(_ time: Timestamp) -> Int64 {
        time.milliseconds >= 0 ? time.milliseconds / 1000 : (time.milliseconds - 999) / 1000
    }

    private static func timestamp(_ second: Int64) -> Timestamp { Timestamp(milliseconds: second * 1000) }
}
