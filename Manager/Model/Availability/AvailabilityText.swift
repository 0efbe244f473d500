/// Windows as people write them: `20:00-06:00 Mon-Fri drain from 05:30 mode shutdown; 00:00-24:00 Sat,Sun`.
///
/// Also read: `available` in front, `otherwise` before `drain`, `with` before `mode`, commas at ends of words, and
/// `drain 30m before`.
extension Availability {
    /// What is wrong with a text, in a sentence.
    public struct TextError: Error, Equatable, Sendable, CustomStringConvertible {
        public var description: String

        init(_ description: String) { self.description = description }
    }

    /// So many windows say all that a week can hold; more are a slip.
    public static let maximumWindows = 64

    public init(
        text: String, timeZone: String, owner: String = "", reason: String = ""
    ) throws(TextError) {
        guard WallClock(zone: timeZone) != nil else {
            throw TextError("'\(timeZone)' is not a time zone of the IANA database, such as Europe/Berlin or UTC")
        }
        let parts = text.split(separator: ";").filter { $0.contains { !$0.isWhitespace } }
        guard !parts.isEmpty else {
            throw TextError("the windows are empty; write, for example, 20:00-06:00 Mon-Fri drain from 05:30")
        }
        guard parts.count <= Self.maximumWindows else {
            throw TextError("there are more than \(Self.maximumWindows) windows")
        }
        var windows: [AvailabilityWindow] = []
        for part in parts { windows.append(try AvailabilityWindow(text: part)) }
        self.init(windows: windows, timeZone: timeZone, owner: owner, reason: reason)
    }

    /// The windows without their time zone; read again, they are the same.
    public var text: String { windows.map(\.text).joined(separator: "; ") }
}

extension AvailabilityWindow {
    public var text: String {
        let lead =
            switch drain {
            case .before(let minutes): "drain \(minutes)m before"
            case .at(let minute): "drain from \(Self.clock(minute))"
            }
        return "\(Self.clock(start))-\(Self.clock(end)) \(Weekday.text(days)) \(lead) mode \(mode.rawValue)"
    }

    init(text: Substring) throws(Availability.TextError) {
        var words = Words(text)
        if words.peek == "available" { words.drop() }
        guard let range = words.take() else { throw .init("'\(text)' says no time, such as 20:00-06:00") }
        let times = range.split(separator: "-", omittingEmptySubsequences: false)
        guard times.count == 2 else { throw .init("'\(range)' is not a range of times, such as 20:00-06:00") }
        let start = try Self.minute(times[0])
        let end = try Self.minute(times[1])
        guard start < Availability.minutesOfDay else { throw .init("'\(range)': a day begins at 00:00, not at 24:00") }
        guard end > 0 else { throw .init("'\(range)': a day ends at 24:00, not at 00:00") }
        guard start != end else {
            throw .init("'\(range)' begins and ends at the same time; write 00:00-24:00 for a whole day")
        }
        var days: Set<Weekday> = []
        while let word = words.peek, !Self.keywords.contains(word) {
            days.formUnion(try Weekday.read(word))
            words.drop()
        }
        self.init(days: days.isEmpty ? Set(Weekday.allCases) : days, start: start, end: end)
        try readRest(&words)
        try checkDrain(of: text)
    }

    private static let keywords: Set<Substring> = ["drain", "mode", "otherwise", "with", "and"]

    private mutating func readRest(_ words: inout Words) throws(Availability.TextError) {
        var seen: Set<Substring> = []
        while let word = words.take() {
            if ["otherwise", "with", "and"].contains(word) { continue }
            guard seen.insert(word).inserted else { throw .init("'\(word)' is said twice") }
            switch word {
            case "drain": drain = try Self.readDrain(&words)
            case "mode":
                guard let name = words.take(), let mode = DrainMode(rawValue: String(name)) else {
                    throw .init("mode must be followed by stop, shutdown or wait")
                }
                guard mode != .migrate else {
                    throw .init("mode migrate is not built yet; use stop, shutdown or wait")
                }
                self.mode = mode
            default: throw .init("'\(word)' is not understood; expected 'drain from HH:MM' or 'mode shutdown'")
            }
        }
    }

    private static func readDrain(_ words: inout Words) throws(Availability.TextError) -> Drain {
        guard let word = words.take() else { throw .init("drain must be followed by 'from 05:30' or '30m before'") }
        if word == "from" {
            guard let time = words.take() else { throw .init("'drain from' must be followed by a time, such as 05:30") }
            return .at(minute: try minute(time))
        }
        guard let unit = word.last, "mh".contains(unit), word.utf8.count <= 5, let number = Int(word.dropLast()),
            number >= 0
        else {
            throw .init("'drain \(word)' is not understood; write 'drain from 05:30' or 'drain 30m before'")
        }
        guard words.take() == "before" else { throw .init("'drain \(word)' must be followed by 'before'") }
        return .before(minutes: unit == "h" ? number * 60 : number)
    }

    /// It must begin inside of the window, else the host would never be used or never be emptied in time.
    private mutating func checkDrain(of text: Substring) throws(Availability.TextError) {
        // A window that is shorter than the usual lead was not asked for it.
        if drain == Self.usualLead && leadMinutes >= minutes { drain = .before(minutes: minutes / 2) }
        guard leadMinutes < minutes else {
            throw .init("'\(text.trimmed)': the host would be emptied before the window begins")
        }
    }

    /// `HH:MM` from 00:00 to 24:00.
    private static func minute(_ text: Substring) throws(Availability.TextError) -> Int {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2,
            parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy { (48...57).contains($0) } }),
            let hour = Int(parts[0]), let minute = Int(parts[1]), minute < 60,
            hour * 60 + minute <= Availability.minutesOfDay
        else { throw .init("'\(text)' is not a time from 00:00 to 24:00") }
        return hour * 60 + minute
    }

    private static func clock(_ minute: Int) -> String {
        func pad(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return "\(pad(minute / 60)):\(pad(minute % 60))"
    }
}

extension Weekday {
    private static let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

    var text: String {
        let name = Self.names[rawValue - 1]
        return name.prefix(1).uppercased() + name.dropFirst()
    }

    /// `Mon-Fri,Sun`, or `daily`.
    static func text(_ days: Set<Weekday>) -> String {
        if days.count == allCases.count { return "daily" }
        var parts: [String] = []
        var rest = allCases[...]
        while let first = rest.first {
            let run = rest.prefix { days.contains($0) }
            if run.count > 2, let last = run.last {
                parts.append("\(first.text)-\(last.text)")
            } else {
                parts += run.map(\.text)
            }
            rest = rest.dropFirst(max(1, run.count))
        }
        return parts.joined(separator: ",")
    }

    /// `Mon`, `Mon-Fri`, `Fri-Mon`, lists of them, or `daily`.
    static func read(_ text: Substring) throws(Availability.TextError) -> Set<Weekday> {
        if text == "daily" { return Set(allCases) }
        var days: Set<Weekday> = []
        for part in text.split(separator: ",") {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
            guard let first = ends.first.flatMap(day), let last = ends.last.flatMap(day), ends.count <= 2 else {
                throw .init("'\(part)' is not a day or a range of days, such as Mon-Fri")
            }
            let count = (last.rawValue - first.rawValue + 7) % 7
            for step in 0...count { days.insert(allCases[(first.rawValue - 1 + step) % 7]) }
        }
        return days
    }

    private static func day(_ name: Substring) -> Weekday? {
        names.firstIndex { $0 == name || (name.utf8.count > 3 && Self.full[$0] == String(name)) }.map { allCases[$0] }
    }

    private static let full = [
        "mon": "monday", "tue": "tuesday", "wed": "wednesday", "thu": "thursday", "fri": "friday",
        "sat": "saturday", "sun": "sunday",
    ]
}

/// Words in lower case, without the commas at their ends.
private struct Words {
    private var rest: ArraySlice<Substring>

    init(_ text: Substring) {
        rest =
            text.lowercased().split(whereSeparator: \.isWhitespace).map { word in
                var word = word
                while word.last == "," { word.removeLast() }
                return word
            }.filter { !$0.isEmpty }[...]
    }

    var peek: Substring? { rest.first }

    mutating func take() -> Substring? { rest.popFirst() }

    mutating func drop() { rest = rest.dropFirst() }
}

extension Substring {
    fileprivate var trimmed: Substring {
        var text = drop { $0.isWhitespace }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}
