import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import AgentImages

@Suite("Who leaves the image cache") struct EvictionPlanTests {
    private typealias Entry = EvictionPlan.Entry

    private static func image(_ number: Int64) -> ImageID { .generate(at: Timestamp(milliseconds: number)) }

    private func entry(
        _ image: ImageID, bytes: Int64 = 10, used: Int64 = 0, assigned: Bool = true, hold: EvictionPlan.Hold? = nil,
        outstanding: Int64 = 0
    ) -> Entry {
        Entry(
            image: image, bytes: bytes, outstandingBytes: outstanding, lastUsed: Timestamp(milliseconds: used),
            isAssigned: assigned, hold: hold)
    }

    private func space(budget: Int64? = nil, free: Int64 = 1000, floor: Int64 = 0) -> EvictionPlan.Space {
        EvictionPlan.Space(budgetBytes: budget, freeBytes: free, floorBytes: floor)
    }

    @Test("nothing leaves while there is room, however long it was not used (HLT-42)")
    func nothingWithoutNeed() {
        let entries = (0..<5).map { entry(Self.image($0), assigned: false) }
        #expect(
            EvictionPlan.decide(entries, space(budget: 60), needed: 10, onlyIfEnough: true)
                == .init(victims: [], shortfall: 0))
    }

    @Test("the least recently used go first, unassigned ones before all, and no more than needed")
    func order() {
        let images = (0..<4).map { Self.image($0) }
        let entries = [
            entry(images[0], used: 40), entry(images[1], used: 20), entry(images[2], used: 90, assigned: false),
            entry(images[3], used: 30),
        ]
        #expect(
            EvictionPlan.decide(entries, space(budget: 40), needed: 20, onlyIfEnough: true)
                == .init(victims: [images[2], images[1]], shortfall: 0))
    }

    @Test("what a pin, a disk or a transfer holds stays, and an image that cannot fit drives nobody out")
    func holds() {
        let images = (0..<4).map { Self.image($0) }
        let entries = [
            entry(images[0], hold: .pinned), entry(images[1], hold: .inUse),
            entry(images[2], hold: .receiving, outstanding: 5), entry(images[3]),
        ]
        #expect(
            EvictionPlan.decide(entries, space(budget: 40), needed: 10, onlyIfEnough: true)
                == .init(victims: [], shortfall: 5))
        // The floor of free space is for others: what can go goes.
        #expect(
            EvictionPlan.decide(entries, space(free: 0, floor: 30), onlyIfEnough: false)
                == .init(victims: [images[3]], shortfall: 25))
    }

    @Test("absurd figures are no way to overflow")
    func extremes() {
        let entries = [entry(Self.image(1), bytes: .max), entry(Self.image(2), bytes: .max, outstanding: .max)]
        let decision = EvictionPlan.decide(
            entries, space(budget: 1, free: 0, floor: .max), needed: .max, onlyIfEnough: false)
        #expect(!decision.victims.isEmpty)
    }

    @Test("for any cache: holds are kept, order is kept, no victim is needless", arguments: 0..<200)
    func laws(_ seed: UInt64) {
        var random = SeededNumbers(state: seed &+ 1)
        let holds: [EvictionPlan.Hold?] = [nil, nil, nil, .pinned, .inUse, .receiving]
        let entries = (0..<Int.random(in: 0...12, using: &random)).map { number in
            let hold = holds.randomElement(using: &random) ?? nil
            return entry(
                Self.image(Int64(number)), bytes: .random(in: 0...50, using: &random),
                used: .random(in: 0...5, using: &random), assigned: .random(using: &random), hold: hold,
                outstanding: hold == .receiving ? .random(in: 0...50, using: &random) : 0)
        }
        let space = space(
            budget: Bool.random(using: &random) ? .random(in: 0...300, using: &random) : nil,
            free: .random(in: 0...300, using: &random), floor: .random(in: 0...60, using: &random))
        let needed = Int64.random(in: 0...120, using: &random)
        for onlyIfEnough in [true, false] {
            let decision = EvictionPlan.decide(entries, space, needed: needed, onlyIfEnough: onlyIfEnough)
            let victims = entries.filter { decision.victims.contains($0.image) }
            #expect(victims.count == decision.victims.count)
            #expect(victims.allSatisfy { $0.hold == nil })
            let missing = Self.missing(entries, space, needed)
            let freed = victims.reduce(0) { $0 + $1.bytes }
            if decision.shortfall == 0 {
                #expect(freed >= missing)
                if let last = victims.first(where: { $0.image == decision.victims.last }) {
                    #expect(freed - last.bytes < missing)
                }
            } else if onlyIfEnough {
                #expect(victims.isEmpty)
            } else {
                #expect(victims.count == entries.count { $0.hold == nil && $0.bytes > 0 })
                #expect(decision.shortfall == missing - freed)
            }
            // Nobody stays who ought to have gone before one that goes.
            let left = entries.filter { entry in
                entry.hold == nil && entry.bytes > 0 && !decision.victims.contains(entry.image)
            }
            for victim in victims {
                for other in left {
                    #expect(
                        !victim.isAssigned || other.isAssigned)
                    if victim.isAssigned == other.isAssigned { #expect(victim.lastUsed <= other.lastUsed) }
                }
            }
        }
    }

    /// The law in other words: what must be free, less what is.
    private static func missing(_ entries: [Entry], _ space: EvictionPlan.Space, _ needed: Int64) -> Int64 {
        let wanted = entries.map(\.outstandingBytes).reduce(needed, +)
        let byDisk = space.floorBytes + wanted - space.freeBytes
        let byBudget = space.budgetBytes.map { entries.map(\.bytes).reduce(wanted, +) - $0 } ?? 0
        return max(0, byDisk, byBudget)
    }
}

@Suite("What is checked next") struct CheckPlanTests {
    private let first = ImageID.generate(at: Timestamp(milliseconds: 1))
    private let second = ImageID.generate(at: Timestamp(milliseconds: 2))
    private let policy = CheckPlan.Policy(interval: .seconds(100), bytesPerSecond: 1000)

    private func candidate(
        _ image: ImageID, doubt: Bool = false, _ urgency: CheckPlan.Urgency = .assigned, good: Int64 = 0
    ) -> CheckPlan.Candidate {
        CheckPlan.Candidate(
            image: image, isInDoubt: doubt, urgency: urgency, lastKnownGood: Timestamp(milliseconds: good))
    }

    @Test("what guests wait for is checked first and as fast as it goes")
    func doubts() {
        let now = Timestamp(milliseconds: 1_000_000)
        #expect(
            CheckPlan.next([candidate(first, doubt: true), candidate(second, doubt: true, .awaited)], policy, now: now)
                == .check(second, unhurried: false))
        #expect(
            CheckPlan.next([candidate(first), candidate(second, doubt: true)], policy, now: now)
                == .check(second, unhurried: true))
    }

    @Test("then whatever was not looked at for longest, once its time has come")
    func scrubs() {
        let images = [candidate(first, good: 5000), candidate(second, good: 2000)]
        #expect(
            CheckPlan.next(images, policy, now: Timestamp(milliseconds: 102_000)) == .check(second, unhurried: true))
        #expect(CheckPlan.next(images, policy, now: Timestamp(milliseconds: 101_000)) == .wait(.seconds(1)))
        // A clock that was set far back waits for no year.
        let early = [candidate(first, good: 1_000_000_000)]
        #expect(CheckPlan.next(early, policy, now: Timestamp(milliseconds: 0)) == .check(first, unhurried: true))
        #expect(CheckPlan.next(early, policy, now: Timestamp(milliseconds: 999_950_000)) == .wait(.seconds(100)))
        let never = CheckPlan.Policy(interval: nil, bytesPerSecond: 1)
        #expect(CheckPlan.next(images, never, now: Timestamp(milliseconds: 1 << 50)) == .rest)
        #expect(CheckPlan.next([], policy, now: Timestamp(milliseconds: 1 << 50)) == .rest)
    }

    @Test("reads are spread over time, and idle time is not made up for")
    func pace() {
        var pace = ReadPace(bytesPerSecond: 1000)
        let start = Uptime(sinceStart: .seconds(10))
        #expect(pace.wait(after: 500, at: start) == .milliseconds(500))
        #expect(pace.wait(after: 500, at: start + .milliseconds(100)) == .milliseconds(900))
        #expect(pace.wait(after: 1000, at: start + .seconds(60)) == .seconds(1))
    }
}

@Suite("Holes") struct ZeroRunsTests {
    private typealias Piece = ZeroRuns.Piece

    @Test("long runs of zeros become holes at whole blocks, short ones are written")
    func pieces() {
        let block = ZeroRuns.block
        var bytes = [UInt8](repeating: 0, count: 64 * block)
        #expect(ZeroRuns.pieces(of: bytes) == [Piece(range: 0..<64 * block, isZero: true)])
        bytes[20 * block + 7] = 1
        bytes[30 * block] = 1
        #expect(
            ZeroRuns.pieces(of: bytes) == [
                Piece(range: 0..<20 * block, isZero: true), Piece(range: 20 * block..<31 * block, isZero: false),
                Piece(range: 31 * block..<64 * block, isZero: true),
            ])
        #expect(ZeroRuns.pieces(of: []).isEmpty)
        #expect(ZeroRuns.pieces(of: [0, 0, 1]) == [Piece(range: 0..<3, isZero: false)])
        #expect(ZeroRuns.pieces(of: [UInt8](repeating: 0, count: 5)) == [Piece(range: 0..<5, isZero: false)])
    }

    @Test("for any content the pieces are the whole, in order, and say the truth", arguments: 0..<50)
    func laws(_ seed: UInt64) {
        var random = SeededNumbers(state: seed)
        var bytes: [UInt8] = []
        while bytes.count < 400_000 {
            let run = Int.random(in: 1...150_000, using: &random)
            bytes += [UInt8](repeating: Bool.random(using: &random) ? 0 : 7, count: run)
        }
        var end = 0
        for piece in ZeroRuns.pieces(of: bytes) {
            #expect(piece.range.lowerBound == end && !piece.range.isEmpty)
            end = piece.range.upperBound
            guard piece.isZero else { continue }
            #expect(piece.range.count >= ZeroRuns.shortestHole && piece.range.lowerBound % ZeroRuns.block == 0)
            #expect(bytes[piece.range].allSatisfy { $0 == 0 })
        }
        #expect(end == bytes.count)
    }
}
