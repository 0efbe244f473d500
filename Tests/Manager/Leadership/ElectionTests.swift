import Foundation
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerLeadership

/// Several candidates on one real record, under a seeded scheduler that pauses processes, lets clocks run at different rates
/// and delays what they ask of the record and what it answers.
@Suite("Elections under faults")
struct ElectionTests {
    private struct Candidate {
        let id: ManagerID
        var core: Leadership
        /// How fast its clock runs.
        let rate: Double
        let offset: Double
        var pausedUntil = 0.0
        /// Terms whose work it does.
        var working: Term?

        func clock(_ now: Double) -> Uptime { Uptime(sinceStart: .milliseconds(Int64((now * rate + offset) * 1000))) }
    }

    private enum Step {
        case ask(Leadership.Effect)
        case answer(Leadership.Event)
        /// A write of the leader's work.
        case work(Term)
    }

    private struct World {
        var random: SeededNumbers
        var candidates: [Candidate] = []
        /// What is on its way, with the moment at which it arrives.
        var pending: [(at: Double, to: Int, step: Step)] = []
        let store: Store
        /// Terms in the order in which their writes were committed, with their writer.
        var written: [(term: Term, by: Int)] = []
        var refused = 0

        mutating func delay(_ faulty: Bool) -> Double {
            let usual = Double.random(in: 0.001...0.05, using: &random)
            guard faulty, Int.random(in: 0..<20, using: &random) == 0 else { return usual }
            return Double.random(in: 0.5...12, using: &random)
        }

        mutating func perform(_ effects: [Leadership.Effect], of index: Int, at now: Double, faulty: Bool) {
            for effect in effects {
                switch effect {
                case .lead(let term):
                    candidates[index].working = term
                case .stop:
                    candidates[index].working = nil
                case .read, .acquire, .renew, .release:
                    pending.append((now + delay(faulty), index, .ask(effect)))
                }
            }
        }

        /// The record answers; the answer takes its time, too.
        mutating func ask(_ question: Leadership.Effect, of index: Int, at now: Double, faulty: Bool) async throws {
            let own = candidates[index].id
            let answer: Leadership.Event
            switch question {
            case .read: answer = .read(try await store.read { try $0.leadership.lease() })
            case .acquire(let lease):
                answer = .acquired(try await store.write { try $0.leadership.acquire(over: lease, for: own) })
            case .renew(let term):
                answer = .renewed(term, try await store.write { try $0.leadership.renew(term) }, resign: false)
            case .release(let term):
                try await store.write { try $0.leadership.release(term) }
                return
            case .lead, .stop: return
            }
            pending.append((now + delay(faulty), index, .answer(answer)))
        }

        mutating func work(_ term: Term, of index: Int) async throws {
            do {
                try await store.write(as: term) { sql in try sql.siteSettings.set("work", "\(term)") }
                written.append((term, index))
            } catch let refusal as Refusal {
                #expect(refusal.code == .notLeader)
                refused += 1
            }
        }
    }

    /// One run; whether old leaders tried to write, and were refused.
    private func run(seed: UInt64, count: Int) async throws -> Int {
        var random = SeededNumbers(state: seed)
        let start = Timestamp(milliseconds: 1_790_000_000_000)
        let place = try Place()
        defer { place.remove() }
        var world = World(random: random, store: place.store)
        for _ in 0..<count {
            let id = ManagerID.generate(at: start, using: &random)
            world.candidates.append(
                Candidate(
                    id: id, core: Leadership(own: id), rate: .random(in: 0.9...1.1, using: &random),
                    offset: .random(in: 0...1e6, using: &random)))
        }
        var now = 0.0
        var leaderless = 0.0
        while now < 90 {
            let faulty = now < 65
            now += 0.05
            for index in world.candidates.indices where world.candidates[index].pausedUntil <= now {
                if faulty, Int.random(in: 0..<600, using: &world.random) == 0 {
                    world.candidates[index].pausedUntil = now + Double.random(in: 1...15, using: &world.random)
                    continue
                }
                let effects = world.candidates[index].core.handle(.ticked, at: world.candidates[index].clock(now))
                world.perform(effects, of: index, at: now, faulty: faulty)
                if let term = world.candidates[index].working, Bool.random(using: &world.random) {
                    world.pending.append((now + world.delay(faulty), index, .work(term)))
                }
            }
            try await deliver(&world, at: now, faulty: faulty)
            // By time alone: nobody who has looked at the clock just now shares leadership, whatever the rates.
            let awake = world.candidates.filter { $0.pausedUntil <= now && $0.core.term != nil }
            #expect(awake.count <= 1, "seed \(seed): two lead at \(now)")
            leaderless = awake.isEmpty ? leaderless + 0.05 : 0
        }
        #expect(leaderless == 0, "seed \(seed): nobody leads although nothing is in the way")
        var last = Term(0)
        var writers: [Term: Int] = [:]
        for (term, writer) in world.written {
            #expect(term >= last, "seed \(seed): a write of term \(term) after one of \(last)")
            #expect(writers[term, default: writer] == writer, "seed \(seed): two wrote in term \(term)")
            (last, writers[term]) = (term, writer)
        }
        #expect(!world.written.isEmpty)
        return world.refused
    }

    private func deliver(_ world: inout World, at now: Double, faulty: Bool) async throws {
        while let index = world.pending.indices.filter({ world.pending[$0].at <= now }).min(by: {
            world.pending[$0].at < world.pending[$1].at
        }) {
            let (_, to, step) = world.pending.remove(at: index)
            switch step {
            // What has left a process reaches the record, whatever becomes of the process.
            case .ask(let question): try await world.ask(question, of: to, at: now, faulty: faulty)
            case .work(let term): try await world.work(term, of: to)
            case .answer(let answer):
                guard world.candidates[to].pausedUntil <= now else {
                    world.pending.append((world.candidates[to].pausedUntil, to, step))
                    continue
                }
                let effects = world.candidates[to].core.handle(answer, at: world.candidates[to].clock(now))
                world.perform(effects, of: to, at: now, faulty: faulty)
            }
        }
    }

    @Test(
        "no two commit under one term, none after a later one, and somebody always leads in the end", arguments: 2...3)
    func elections(count: Int) async throws {
        var refused = 0
        for seed in 1...25 as ClosedRange<UInt64> { refused += try await run(seed: seed &* 77, count: count) }
        #expect(refused > 0, "no old leader ever tried: the test would prove nothing")
    }

    @Test("a write of an old leader is refused after a take-over, and after it handed its lease back")
    func fencing() async throws {
        let place = try Place()
        defer { place.remove() }
        let (store, now) = (place.store, Timestamp(milliseconds: 1_790_000_000_000))
        let (one, two) = (ManagerID.generate(at: now), ManagerID.generate(at: now))
        func write(_ term: Term) async throws { try await store.write(as: term) { _ in } }
        let first = try #require(try await store.write { try $0.leadership.acquire(over: nil, for: one) })
        try await write(first)
        let seen = try await store.read { try $0.leadership.lease() }
        // It is renewed in between: whoever decided by what it saw before does not get it.
        #expect(try await store.write { try $0.leadership.renew(first) })
        #expect(try await store.write { try $0.leadership.acquire(over: seen, for: two) } == nil)
        let second = try #require(
            try await store.write { sql in try sql.leadership.acquire(over: sql.leadership.lease(), for: two) })
        #expect(second > first)
        await #expect(throws: Refusal.self) { try await write(first) }
        #expect(try await !store.write { try $0.leadership.renew(first) })
        try await store.write { try $0.leadership.release(first) }
        try await write(second)
        try await store.write { try $0.leadership.release(second) }
        await #expect(throws: Refusal.self) { try await write(second) }
        #expect(try await store.write { try $0.leadership.askToResign() } == nil)
    }
}

/// A record in memory: the faults here are of time, not of disks.
private struct Place {
    let folder = "/dev/shm/roost-election-\(UUID().uuidString)"
    let store: Store

    init() throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        store = try Store(path: folder + "/roost.sqlite")
    }

    func remove() {
        store.close()
        try? FileManager.default.removeItem(atPath: folder)
    }
}
