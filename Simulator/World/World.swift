import Foundation
public import ProtocolModel

/// A span of simulated time, or a moment as the time since the run began.
public struct SimulatedTime: Hashable, Sendable, Comparable {
    public var microseconds: Int64

    public init(microseconds: Int64) { self.microseconds = microseconds }

    public static let zero = Self(microseconds: 0)
    public static func milliseconds(_ count: Int) -> Self { Self(microseconds: Int64(count) * 1000) }
    public static func seconds(_ count: Double) -> Self { Self(microseconds: Int64(count * 1_000_000)) }
    public static func minutes(_ count: Double) -> Self { .seconds(count * 60) }

    /// To the microsecond below; never negative.
    public init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        microseconds = max(0, seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
    }

    public static func < (left: Self, right: Self) -> Bool { left.microseconds < right.microseconds }
    public static func + (left: Self, right: Self) -> Self {
        Self(microseconds: left.microseconds + right.microseconds)
    }
    public static func - (left: Self, right: Self) -> Self {
        Self(microseconds: left.microseconds - right.microseconds)
    }

    public var duration: Duration { .microseconds(microseconds) }
    public var seconds: Double { Double(microseconds) / 1_000_000 }
}

/// Simulated time and what is to happen in it. One thread, no clock: the next thing happens as soon as the one before it
/// has, and things due at once happen in the order in which they were asked for.
public final class World {
    private struct Due {
        let at: SimulatedTime
        let order: UInt64
        let body: () -> Void

        func precedes(_ other: Due) -> Bool { at < other.at || (at == other.at && order < other.order) }
    }

    public private(set) var now = SimulatedTime.zero
    public let seed: UInt64
    public let random: Randomness
    public let trace: Trace
    private var due: [Due] = []
    private var order: UInt64 = 0
    /// The wall clock of the site when the run began: 2026-06-01T00:00:00Z.
    public static let epoch = Timestamp(milliseconds: 1_780_272_000_000)

    public init(seed: UInt64, trace: Trace) {
        self.seed = seed
        random = Randomness(seed: seed)
        self.trace = trace
    }

    /// The true time, as a clock that nobody has set wrongly shows it.
    public var timestamp: Timestamp { World.epoch + now.duration }

    /// Does something after a time.
    public func after(_ delay: SimulatedTime, _ body: @escaping () -> Void) {
        order += 1
        due.append(Due(at: now + max(.zero, delay), order: order, body: body))
        var child = due.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard due[child].precedes(due[parent]) else { break }
            due.swapAt(child, parent)
            child = parent
        }
    }

    /// Runs until a moment, or until `isOver` says so.
    public func run(until end: SimulatedTime, isOver: () -> Bool) {
        while let first = due.first, first.at <= end, !isOver() {
            removeFirst()
            now = first.at
            first.body()
        }
        if !isOver() { now = max(now, end) }
    }

    /// Lets go of what was still to happen, and so of all that it would have happened to.
    public func end() { due = [] }

    private func removeFirst() {
        let last = due.removeLast()
        guard !due.isEmpty else { return }
        due[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < due.count else { return }
            if child + 1 < due.count, due[child + 1].precedes(due[child]) { child += 1 }
            guard due[child].precedes(due[parent]) else { return }
            due.swapAt(child, parent)
            parent = child
        }
    }
}

/// What happened, in order: always as a number that tells two runs apart, and as lines where somebody wants to read them.
public final class Trace {
    public private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    public private(set) var count: UInt64 = 0
    private let print: ((String) -> Void)?

    /// - Parameter print: is given each line; `nil` where nobody reads them, which is faster.
    public init(print: ((String) -> Void)? = nil) { self.print = print }

    public var isPrinted: Bool { print != nil }

    /// Notes what happened. The numbers are to differ wherever the words do.
    public func note(
        _ world: World, _ what: StaticString, _ first: UInt64 = 0, _ second: UInt64 = 0,
        _ words: @autoclosure () -> String = ""
    ) {
        count += 1
        mix(UInt64(bitPattern: world.now.microseconds))
        mix(UInt64(what.utf8CodeUnitCount))
        what.withUTF8Buffer { bytes in for byte in bytes { mix(UInt64(byte)) } }
        mix(first)
        mix(second)
        guard let print else { return }
        let milliseconds = world.now.microseconds / 1000
        let stamp = "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst())"
        print("\(String(repeating: " ", count: max(0, 8 - stamp.count)))\(stamp) \(what) \(words())")
    }

    private func mix(_ value: UInt64) {
        hash = (hash ^ value) &* 0x0000_0100_0000_01B3
        hash ^= hash >> 29
    }
}

extension ID {
    /// The identifier as one number, for a trace.
    public var mark: UInt64 {
        withUnsafeBytes(of: uuid.uuid) { bytes in
            bytes.loadUnaligned(as: UInt64.self) ^ bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        }
    }

    /// The end of the identifier, which is enough to tell those of one run apart.
    public var short: String { String(description.suffix(6)) }
}
