import Synchronization

/// The one source of chance of a run: the same seed gives the same numbers everywhere and always (xoshiro256**, Blackman
/// and Vigna 2018, seeded by SplitMix64). Not for secrets.
public final class Randomness: RandomNumberGenerator, Sendable {
    private let state: Mutex<(UInt64, UInt64, UInt64, UInt64)>

    public init(seed: UInt64) {
        var mixer = seed
        func mixed() -> UInt64 {
            mixer &+= 0x9E37_79B9_7F4A_7C15
            var value = mixer
            value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
            return value ^ (value >> 31)
        }
        state = Mutex((mixed(), mixed(), mixed(), mixed()))
    }

    public func next() -> UInt64 {
        state.withLock { state in
            func rotated(_ value: UInt64, _ bits: UInt64) -> UInt64 { value << bits | value >> (64 - bits) }
            let result = rotated(state.1 &* 5, 7) &* 9
            let shifted = state.1 << 17
            state.2 ^= state.0
            state.3 ^= state.1
            state.1 ^= state.2
            state.0 ^= state.3
            state.2 ^= shifted
            state.3 = rotated(state.3, 45)
            return result
        }
    }

    /// A number below `bound`, which is at least 1.
    public func below(_ bound: Int) -> Int { Int(next() % UInt64(max(1, bound))) }

    /// A number of a range.
    public func number(_ range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }

    /// Whether something happens that happens so often, 0 to 1.
    public func chance(_ share: Double) -> Bool {
        share > 0 && Double(next() >> 11) * 0x1p-53 < share
    }

    /// A time between two, to the microsecond.
    public func time(_ range: ClosedRange<SimulatedTime>) -> SimulatedTime {
        let span = range.upperBound.microseconds - range.lowerBound.microseconds
        return SimulatedTime(microseconds: range.lowerBound.microseconds + Int64(next() % UInt64(span + 1)))
    }

    /// One of several; `nil` where there is none.
    public func pick<Element>(_ choices: [Element]) -> Element? {
        choices.isEmpty ? nil : choices[below(choices.count)]
    }
}
