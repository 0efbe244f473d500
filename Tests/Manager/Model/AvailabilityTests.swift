import Foundation
import ManagerModel
import ProtocolModel
import Testing

/// What a person with a watch would say, minute by minute, against what the calendar says.
struct AvailabilityTests {
    /// Days with a change of the clock, each seen minute by minute.
    static let changes: [(zone: String, day: String)] = [
        ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"), ("Australia/Lord_Howe", "2026-04-05"),
        ("Australia/Lord_Howe", "2026-10-04"), ("America/Havana", "2026-03-08"), ("America/Havana", "2026-11-01"),
        ("Asia/Kolkata", "2026-03-29"), ("UTC", "2026-03-29"),
    ]

    static let texts = [
        "20:00-06:00 daily drain from 05:30", "02:00-03:00 daily drain from 02:50",
        "02:30-02:45 daily drain from 02:40", "01:30-09:00 Sun drain from 02:30",
        "00:00-24:00 Sat,Sun drain 30m before",
        "22:15-02:15 Sat,Sun drain from 01:45", "23:30-00:30 daily drain from 00:10",
    ]

    @Test("no early enable, no late drain, and nothing else, through changes of the clock", arguments: changes)
    func clockChanges(_ change: (zone: String, day: String)) throws {
        let zone = try #require(TimeZone(identifier: change.zone))
        let middle = try #require(Timestamp(change.day)).milliseconds / 1000
        for text in Self.texts {
            let availability = try Availability(text: text, timeZone: change.zone)
            let window = try #require(availability.windows.first)
            for second in stride(from: middle - 14 * 3600, to: middle + 30 * 3600, by: 60) {
                let state = try #require(availability.state(at: Timestamp(milliseconds: second * 1000)))
                let isOpen = if case .open = state { true } else { false }
                let expected = Self.isOpenByTheWatch(window, second, zone)
                if isOpen {
                    #expect(expected, "\(text) in \(change.zone) is open at \(second)")
                } else if expected {
                    #expect(
                        Self.isRepeated(second, zone) || Self.hadRepeatSinceStart(window, second, zone),
                        "\(text) in \(change.zone) is shut at \(second)")
                }
            }
        }
    }

    /// Weekday and time of day as a watch shows them.
    private static func isOpenByTheWatch(_ window: AvailabilityWindow, _ second: Int64, _ zone: TimeZone) -> Bool {
        let local = second + Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(second))))
        let today = local / 86_400
        let minute = Int(local % 86_400 / 60)
        return [today, today - 1].contains { day in
            guard window.days.contains(Weekday.allCases[Int((day + 3) % 7)]) else { return false }
            let length = window.end > window.start ? window.end - window.start : window.end + 1440 - window.start
            let lead =
                switch window.drain {
                case .before(let minutes): minutes
                case .at(let drain): (window.end - drain + 1440) % 1440
                }
            let since = minute + Int(today - day) * 1440 - window.start
            // Windows of whole days touch: they are emptied once, at the end of the last.
            let isFollowed =
                length == 1440 && window.days.contains(Weekday.allCases[Int((day + 4) % 7)])
            return since >= 0 && since < (isFollowed ? length : length - lead)
        }
    }

    /// Whether the clock shows this time twice.
    private static func isRepeated(_ second: Int64, _ zone: TimeZone) -> Bool {
        func offset(_ second: Int64) -> Int64 {
            Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(second))))
        }
        let here = offset(second)
        let before = offset(second - 3 * 3600)
        let after = offset(second + 3 * 3600)
        return [before, after].contains { other in
            other != here && offset(second + here - other) == other
        }
    }

    /// Whether a lead that is counted in minutes is spent across a change.
    private static func hadRepeatSinceStart(_ window: AvailabilityWindow, _ second: Int64, _ zone: TimeZone) -> Bool {
        guard case .before = window.drain else { return false }
        let date = Date(timeIntervalSince1970: Double(second))
        return zone.secondsFromGMT(for: date) != zone.secondsFromGMT(for: date + 3600)
    }

    @Test("what is announced is what happens", arguments: changes)
    func announcements(_ change: (zone: String, day: String)) throws {
        let middle = try #require(Timestamp(change.day))
        for text in Self.texts {
            let availability = try Availability(text: text, timeZone: change.zone)
            var now = middle - .seconds(3 * 86_400)
            while now < middle + .seconds(3 * 86_400) {
                let next = try #require(availability.nextChange(after: now))
                try #require(next > now)
                let state = availability.state(at: now)
                #expect(Self.kind(availability.state(at: next - .milliseconds(1))) == Self.kind(state))
                #expect(Self.kind(availability.state(at: next)) != Self.kind(state), "\(text) at \(next)")
                now = next
            }
        }
    }

    private static func kind(_ state: Availability.State?) -> String {
        switch state {
        case .open: "open"
        case .draining: "draining"
        case .closed: "closed"
        case .none: "unknown"
        }
    }

    @Test("the window of the handbook, on a week without changes")
    func handbook() throws {
        let text = "available 20:00-06:00 Mon-Fri, otherwise drain from 05:30 with mode shutdown"
        let availability = try Availability(text: text, timeZone: "Europe/Berlin")
        #expect(availability.text == "20:00-06:00 Mon-Fri drain from 05:30 mode shutdown")
        func state(_ time: String) throws -> Availability.State? {
            availability.state(at: try #require(Timestamp(time)))
        }
        let monday = try #require(Timestamp("2026-06-15T18:00:00Z"))
        #expect(try state("2026-06-15T17:59:59Z") == .closed(opensAt: monday))
        #expect(try state("2026-06-15T18:00:00Z") == .open(drainsAt: Timestamp("2026-06-16T03:30:00Z")))
        let tuesday = try #require(Timestamp("2026-06-16T04:00:00Z"))
        #expect(try state("2026-06-16T03:30:00Z") == .draining(endsAt: tuesday, mode: .shutdown))
        #expect(try state("2026-06-16T04:00:00Z") == .closed(opensAt: Timestamp("2026-06-16T18:00:00Z")))
        // Friday's window ends on Saturday; the next one begins on Monday.
        #expect(try state("2026-06-20T03:00:00Z") == .open(drainsAt: Timestamp("2026-06-20T03:30:00Z")))
        #expect(try state("2026-06-20T04:00:00Z") == .closed(opensAt: Timestamp("2026-06-22T18:00:00Z")))
    }

    @Test("windows that touch are one, and one without end never drains")
    func joined() throws {
        let weekend = try Availability(text: "20:00-24:00 Fri; 00:00-24:00 Sat,Sun; 00:00-06:00 Mon", timeZone: "UTC")
        let friday = try #require(Timestamp("2026-06-19T20:00:00Z"))
        let end = try #require(Timestamp("2026-06-22T05:50:00Z"))
        #expect(weekend.state(at: friday) == .open(drainsAt: end))
        #expect(weekend.state(at: end - .seconds(1)) == .open(drainsAt: end))
        let always = try Availability(text: "00:00-24:00", timeZone: "Europe/Berlin")
        for hour in 0..<400 {
            #expect(always.state(at: friday + .seconds(hour * 3600)) == .open(drainsAt: nil))
        }
    }

    @Test("a text that is written and read again is the same", arguments: texts)
    func roundTrip(_ text: String) throws {
        let availability = try Availability(text: text, timeZone: "UTC")
        #expect(try Availability(text: availability.text, timeZone: "UTC") == availability)
    }

    @Test(
        "what is wrong is said",
        arguments: [
            ("", "UTC", "the windows are empty"), ("20:00 Mon", "UTC", "'20:00' is not a range"),
            ("20:00-25:00", "UTC", "'25:00' is not a time"), ("8:00-9:00", "UTC", "'8:00' is not a time"),
            ("24:00-06:00", "UTC", "begins at 00:00"), ("20:00-00:00", "UTC", "ends at 24:00"),
            ("20:00-20:00", "UTC", "same time"), ("20:00-06:00 Mo", "UTC", "'mo' is not a day"),
            ("20:00-06:00 drain from 07:00", "UTC", "before the window begins"),
            ("20:00-06:00 drain 11h before", "UTC", "before the window begins"),
            ("20:00-06:00 drain soon", "UTC", "'drain soon'"),
            ("20:00-06:00 mode fast", "UTC", "stop, shutdown or wait"),
            ("20:00-06:00 mode migrate", "UTC", "not built"), ("20:00-06:00 mode stop mode stop", "UTC", "twice"),
            ("20:00-06:00", "Europe/Atlantis", "not a time zone"), ("20:00-06:00", "CET+1", "not a time zone"),
        ])
    func wrong(_ text: String, _ zone: String, _ sentence: String) {
        #expect { try Availability(text: text, timeZone: zone) } throws: { error in
            "\(error)".contains(sentence)
        }
    }
}
