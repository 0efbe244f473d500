import Testing

@testable import ChunkPlane

/// Time passes only where a test lets it.
@Suite struct BandwidthScheduleTests {
    private static let slice = BandwidthSchedule.sliceBytes

    /// What each of some transfers moved within a time, all of them asking again as soon as they may.
    private func run(
        _ schedule: inout BandwidthSchedule, _ purposes: [TransferPurpose], for time: Duration,
        from start: ContinuousClock.Instant
    ) -> [Int] {
        var moved = purposes.map { _ in 0 }
        var due = purposes.map { _ in start }
        while let next = due.indices.min(by: { (due[$0], $0) < (due[$1], $1) }), due[next] < start + time {
            if let wait = schedule.ask(for: Self.slice, purposes[next], at: due[next]) {
                #expect(wait > .zero)
                due[next] += wait
            } else {
                moved[next] += Self.slice
                // Moving takes a moment.
                due[next] += .microseconds(10)
            }
        }
        return moved
    }

    private func isNear(_ bytes: Int, _ rate: Double, _ seconds: Double, within share: Double = 0.02) -> Bool {
        abs(Double(bytes) - rate * seconds) <= rate * seconds * share + 2 * Double(Self.slice) + rate * 0.1
    }

    @Test func nothingIsLimitedWithoutALimit() {
        var schedule = BandwidthSchedule()
        #expect(!schedule.isLimited)
        for _ in 0..<1000 { #expect(schedule.ask(for: 1 << 30, .prefill, at: .now) == nil) }
        #expect(!BandwidthSchedule(bytesPerSecond: 0).isLimited)
    }

    @Test(arguments: [1 << 20, 25_000_000, 1_250_000_000])
    func theRateHoldsWhoeverAsks(rate: Int) {
        for purposes in [[.prefill], [.launch], [.prefill, .prefill, .prefill], [.launch, .prefill]]
            as [[TransferPurpose]]
        {
            var schedule = BandwidthSchedule(bytesPerSecond: Int64(rate))
            let moved = run(&schedule, purposes, for: .seconds(10), from: .now).reduce(0, +)
            #expect(isNear(moved, Double(rate), 10), "\(purposes): \(moved)")
        }
    }

    @Test func launchesGoFirstAndPrefillsKeepAShare() {
        var schedule = BandwidthSchedule(bytesPerSecond: 25_000_000, prefillShare: 0.1)
        let moved = run(&schedule, [.prefill, .prefill, .prefill, .launch], for: .seconds(20), from: .now)
        #expect(isNear(moved[3], 22_500_000, 20, within: 0.03), "\(moved)")
        #expect(isNear(moved[0] + moved[1] + moved[2], 2_500_000, 20, within: 0.05), "\(moved)")
    }

    @Test func prefillsTakeWhatLaunchesLeave() {
        var schedule = BandwidthSchedule(bytesPerSecond: 10_000_000, prefillShare: 0.1)
        let start = ContinuousClock.now
        // A launch whose own source is slow asks for a slice each 50 ms, 1.3 MB/s.
        var moved = 0
        var now = start
        var launch = start
        while now < start + .seconds(10) {
            if now >= launch {
                if schedule.ask(for: Self.slice, .launch, at: now) == nil { launch = now + .milliseconds(50) }
            }
            if let wait = schedule.ask(for: Self.slice, .prefill, at: now) {
                now += min(wait, .milliseconds(5))
            } else {
                moved += Self.slice
            }
        }
        #expect(Double(moved) > 0.5 * 10_000_000 * 10, "\(moved)")
        // Once it is gone, all of it is theirs.
        #expect(isNear(run(&schedule, [.prefill], for: .seconds(10), from: now + .seconds(1))[0], 10_000_000, 10))
    }

    @Test func aLimitHoldsFromWhenItIsSet() {
        var schedule = BandwidthSchedule()
        let start = ContinuousClock.now
        schedule.limit(bytesPerSecond: 5_000_000, prefillShare: 0.1, at: start)
        #expect(isNear(run(&schedule, [.prefill], for: .seconds(5), from: start)[0], 5_000_000, 5))
        schedule.limit(bytesPerSecond: 50_000_000, prefillShare: 0.1, at: start + .seconds(5))
        #expect(isNear(run(&schedule, [.prefill], for: .seconds(5), from: start + .seconds(5))[0], 50_000_000, 5))
        schedule.limit(bytesPerSecond: 1 << 20, prefillShare: 0.1, at: start + .seconds(10))
        #expect(isNear(run(&schedule, [.prefill], for: .seconds(10), from: start + .seconds(10))[0], 1_048_576, 10))
        schedule.limit(bytesPerSecond: nil, prefillShare: 0.1, at: start + .seconds(20))
        #expect(schedule.ask(for: 1 << 30, .prefill, at: start + .seconds(20)) == nil)
    }

    @Test func aClockThatStandsStillOrGoesBackGrantsNothing() {
        var schedule = BandwidthSchedule(bytesPerSecond: 1 << 20)
        let start = ContinuousClock.now
        while schedule.ask(for: Self.slice, .prefill, at: start) == nil {}
        for step in 0..<100 {
            #expect(schedule.ask(for: Self.slice, .prefill, at: start - .seconds(step)) != nil)
        }
    }
}
