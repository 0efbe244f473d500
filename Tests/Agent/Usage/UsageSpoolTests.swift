@testable import AgentUsage
import AgentDurability
import Foundation
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing
import TestsSupportFiles

@Suite("The usage spool")
struct UsageSpoolTests {
    static let firstID = SpoolID("01900000-0000-7000-8000-00000000c001")!
    static let otherID = SpoolID("01900000-0000-7000-8000-00000000c002")!

    static func open(
        _ folder: ScratchFolder, _ files: any FileSystem = HostFileSystem(), id: SpoolID = firstID,
        budget: Int = 1 << 20, segment: Int = 600
    ) throws -> (spool: UsageSpool, state: Sampler.State?, notices: [SpoolNotice]) {
        try UsageSpool.open(
            folder: folder.path + "/usage", files: files, budgetBytes: budget, segmentBytes: segment, newID: id)
    }

    static func sample(_ number: Int) -> [Roost_V1_UsageSample] {
        [.with { $0.fromMs = Int64(number) }, .with { $0.toMs = Int64(number) }]
    }

    static func state(_ number: Int) -> Sampler.State {
        var state = Sampler.State()
        state.sampledAtMilliseconds = Int64(number)
        return state
    }

    static func append(_ spool: inout UsageSpool, _ numbers: ClosedRange<Int>) throws -> [SpoolNotice] {
        var notices: [SpoolNotice] = []
        for number in numbers { try spool.append(sample(number), state: state(number), &notices) }
        return notices
    }

    static func numbers(_ spool: inout UsageSpool) throws -> [UInt64] {
        try spool.batches(after: nil, limit: .max).map(\.batch.number)
    }

    @Test("what was kept is there after a restart, numbered by one, with the last state")
    func restart() throws {
        let folder = ScratchFolder()
        var (spool, state, notices) = try Self.open(folder)
        #expect(state == nil && notices.isEmpty)
        _ = try Self.append(&spool, 1...20)
        var (again, kept, more) = try Self.open(folder, id: Self.otherID)
        #expect(more.isEmpty)
        #expect(again.id == Self.firstID)
        #expect(kept == Self.state(20))
        #expect(try Self.numbers(&again) == Array(1...20))
        _ = try Self.append(&again, 21...22)
        #expect(try Self.numbers(&again) == Array(1...22))
        #expect(try again.batches(after: nil, limit: 1).first?.batch.spoolID == Self.firstID.bytes)
    }

    @Test("acknowledged batches go, and numbers go on even when all are gone")
    func acknowledge() throws {
        let folder = ScratchFolder()
        var spool = try Self.open(folder).spool
        _ = try Self.append(&spool, 1...20)
        let full = spool.bytes
        spool.acknowledge(Self.otherID, upTo: 20)
        spool.acknowledge(Self.firstID, upTo: 1000)
        #expect(try Self.numbers(&spool).count == 20)
        spool.acknowledge(Self.firstID, upTo: 7)
        #expect(try Self.numbers(&spool) == Array(8...20))
        #expect(spool.bytes < full)
        spool.acknowledge(Self.firstID, upTo: 20)
        #expect(try Self.numbers(&spool).isEmpty)
        var (again, state, _) = try Self.open(folder)
        #expect(state == Self.state(20))
        _ = try Self.append(&again, 21...21)
        #expect(try Self.numbers(&again).last == 21)
    }

    @Test("batches come in pages behind a position")
    func pages() throws {
        let folder = ScratchFolder()
        var spool = try Self.open(folder).spool
        _ = try Self.append(&spool, 1...30)
        var position: SpoolPosition?
        var seen: [UInt64] = []
        while true {
            let page = try spool.batches(after: position, limit: 7)
            if page.isEmpty { break }
            seen += page.map(\.batch.number)
            position = page.last?.position
        }
        #expect(seen == Array(1...30))
    }

    @Test("a file cut at any byte loses the last batches alone, and no number twice")
    func tornTail() throws {
        let folder = ScratchFolder()
        var spool = try Self.open(folder, segment: 1 << 16).spool
        _ = try Self.append(&spool, 1...3)
        let files = HostFileSystem()
        let name = try #require(try files.list(folder.path + "/usage").last)
        let path = folder.path + "/usage/" + name
        let whole = try #require(try files.read(path, limit: 1 << 20))
        for cut in 0..<whole.count {
            let folder = ScratchFolder()
            try files.makeFolder(folder.path + "/usage", mode: 0o700)
            try files.write(Array(whole[..<cut]), to: folder.path + "/usage/" + name, mode: 0o600)
            var (again, state, notices) = try Self.open(folder, id: Self.otherID, segment: 1 << 16)
            let numbers = try Self.numbers(&again)
            #expect(numbers == Array(1...3).prefix(numbers.count).map { UInt64($0) })
            #expect(state == (numbers.isEmpty ? nil : Self.state(numbers.count)))
            #expect(notices.count <= 1)
            _ = try Self.append(&again, 9...9)
            let after = try Self.open(folder, id: Self.otherID, segment: 1 << 16)
            #expect(after.notices.isEmpty)
            #expect(after.state == Self.state(9))
        }
    }

    @Test("rot in the middle starts a new spool, so that no number that was sent is given again")
    func rot() throws {
        let folder = ScratchFolder()
        var spool = try Self.open(folder, segment: 1 << 16).spool
        _ = try Self.append(&spool, 1...5)
        let files = HostFileSystem()
        let path = folder.path + "/usage/" + (try #require(try files.list(folder.path + "/usage").last))
        var bytes = try #require(try files.read(path, limit: 1 << 20))
        bytes[bytes.count / 2] ^= 0xFF
        try files.write(bytes, to: path, mode: 0o600)
        var (again, _, notices) = try Self.open(folder, id: Self.otherID, segment: 1 << 16)
        #expect(notices == [.damaged(file: path)])
        _ = try Self.append(&again, 1...1)
        let batches = try again.batches(after: nil, limit: 100).map(\.batch)
        #expect(batches.last?.spoolID == Self.otherID.bytes)
        #expect(batches.last?.number == 1)
        #expect(batches.dropLast().allSatisfy { $0.spoolID == Self.firstID.bytes })
    }

    @Test("whichever call fails, what was said to be kept is there and what was not is not there twice")
    func crashPoints() throws {
        for call in 1...40 {
            let folder = ScratchFolder()
            let files = FaultyFileSystem()
            var spool = try Self.open(folder, files).spool
            files.fail(at: call)
            var kept: [Int64] = []
            for number in 1...12 {
                var notices: [SpoolNotice] = []
                if (try? spool.append(Self.sample(number), state: Self.state(number), &notices)) != nil {
                    kept.append(Int64(number))
                }
                if number == 6 { spool.acknowledge(Self.firstID, upTo: 2) }
            }
            files.fail(at: nil)
            var again = try Self.open(folder, id: Self.otherID).spool
            let found = try again.batches(after: nil, limit: 100).map(\.batch)
            let numbers = found.compactMap(\.samples.first?.fromMs)
            for number in kept where number > 2 { #expect(numbers.contains(number), "failing call \(call)") }
            // What failed last may be there whole, as it may be after a crash: the sampler's state is there with it.
            let more = numbers.filter { !kept.contains($0) }
            #expect(more.count <= 1 && (more.isEmpty || more.last == numbers.last), "failing call \(call)")
            #expect(Set(found.map(\.number)).count == found.count, "failing call \(call)")
        }
    }

    @Test(
        "a guest that starts before the first process ends is counted from its start by the next, however short both live"
    )
    func shortLives() throws {
        let folder = ScratchFolder()
        var clock = SamplerTests.Clock()
        let start = clock.wall + .seconds(3)
        var counted: Int64 = 0
        for life in 0..<3 {
            let opened = try UsageSpool.open(folder: folder.path, newID: SpoolID.generate(at: clock.wall))
            var recorder = UsageRecorder(
                sampler: Sampler(state: opened.state, boot: SamplerTests.boot, at: clock.wall), spool: opened.spool)
            let readings =
                life == 0 ? [] : [SamplerTests.reading(clock, startedAt: start, cpu: UInt64(life))]
            _ = try recorder.sample(readings, at: clock.wall, clock.uptime)
            counted = try recorder.batches(after: nil, limit: 100).flatMap(\.batch.samples)
                .reduce(0) { $0 + $1.toMs - $1.fromMs }
            clock.pass(.seconds(8))
        }
        #expect(counted == 13_000)
    }

    @Test(
        "what a process left is on the disk before the next one uses it, since its own sync may have been its last call"
    )
    func settled() throws {
        let folder = ScratchFolder()
        let files = FaultyFileSystem()
        var spool = try Self.open(folder, files).spool
        _ = try Self.append(&spool, 1...3)
        // Behind the folder: the newest file, and the names.
        for call in 2...3 {
            files.fail(at: call)
            #expect(throws: SpoolError.self) { try Self.open(folder, files) }
        }
        files.fail(at: nil)
        var again = try Self.open(folder, files).spool
        #expect(try Self.numbers(&again) == [1, 2, 3])
    }

    @Test("a run that begins and ends while the disk is full is counted when there is room again")
    func shortRunWithFullDisk() throws {
        let folder = ScratchFolder()
        let files = FaultyFileSystem()
        var clock = SamplerTests.Clock()
        var recorder = UsageRecorder(
            sampler: Sampler(state: nil, boot: SamplerTests.boot, at: clock.wall),
            spool: try Self.open(folder, files, segment: 1 << 16).spool)
        _ = try recorder.sample([], at: clock.wall, clock.uptime)
        files.fail(at: 1)
        clock.pass(.seconds(4))
        let start = clock.wall
        clock.pass(.seconds(6))
        let reading = SamplerTests.reading(clock, startedAt: start, cpu: 1)
        #expect(throws: SpoolError.self) { try recorder.sample([reading], at: clock.wall, clock.uptime) }
        clock.pass(.seconds(7))
        #expect(throws: SpoolError.self) { try recorder.stopped(SamplerTests.instance, at: clock.wall, clock.uptime) }
        files.fail(at: nil)
        clock.pass(.seconds(10))
        _ = try recorder.sample([], at: clock.wall, clock.uptime)
        let samples = try recorder.batches(after: nil, limit: 100).flatMap(\.batch.samples)
        #expect(samples.map { $0.toMs - $0.fromMs } == [13_000])
    }

    @Test(
        "the first look after a boot of the host is kept, though it shows nothing: the next process counts from there")
    func firstLookOfBoot() throws {
        let folder = ScratchFolder()
        var clock = SamplerTests.Clock()
        func recorder(_ boot: BootID) throws -> UsageRecorder {
            let opened = try Self.open(folder)
            return UsageRecorder(
                sampler: Sampler(state: opened.state, boot: boot, at: clock.wall), spool: opened.spool)
        }
        var first = try recorder(SamplerTests.boot)
        _ = try first.sample([], at: clock.wall, clock.uptime)
        clock.wall = clock.wall + .seconds(60)
        clock.uptime = Uptime(sinceStart: .seconds(100))
        let boot = try #require(BootID("01900000-0000-7000-8000-00000000b002"))
        var second = try recorder(boot)
        _ = try second.sample([], at: clock.wall, clock.uptime)
        clock.pass(.seconds(1))
        let start = clock.wall
        clock.pass(.seconds(9), step: .seconds(900))
        var third = try recorder(boot)
        _ = try third.sample(
            [SamplerTests.reading(clock, startedAt: start, cpu: 1)], at: clock.wall, clock.uptime)
        let samples = try third.batches(after: nil, limit: 100).flatMap(\.batch.samples)
        #expect(samples.map { $0.toMs - $0.fromMs } == [9000])
    }

    @Test("a full disk for a while costs nothing: the next sample covers the time")
    func fullDisk() throws {
        let folder = ScratchFolder()
        let files = FaultyFileSystem()
        var clock = SamplerTests.Clock()
        var recorder = UsageRecorder(
            sampler: Sampler(state: nil, boot: SamplerTests.boot, at: clock.wall),
            spool: try Self.open(folder, files, segment: 1 << 16).spool)
        clock.pass(.seconds(1))
        let start = clock.wall
        var failures = 0
        for step in 1...20 {
            clock.pass(.seconds(10))
            files.fail(at: (5...9).contains(step) ? 1 : nil)
            do {
                let reading = SamplerTests.reading(clock, startedAt: start, cpu: UInt64(step))
                _ = try recorder.sample([reading], at: clock.wall, clock.uptime)
            } catch { failures += 1 }
        }
        files.fail(at: 1)
        clock.pass(.seconds(3))
        #expect(throws: SpoolError.self) { try recorder.stopped(SamplerTests.instance, at: clock.wall, clock.uptime) }
        files.fail(at: nil)
        _ = try recorder.sample([], at: clock.wall, clock.uptime)
        #expect(failures == 5)
        let samples = try recorder.batches(after: nil, limit: 100).flatMap(\.batch.samples)
        #expect(samples.reduce(0) { $0 + $1.toMs - $1.fromMs } == 203_000)
        #expect(samples.reduce(0) { $0 + $1.cpuTimeNs } == 20)
    }

    @Test("over its budget the spool lets go of the oldest, and says how much")
    func budget() throws {
        let folder = ScratchFolder()
        var spool = try Self.open(folder, budget: 3000).spool
        let notices = try Self.append(&spool, 1...200)
        #expect(spool.bytes <= 3000)
        let left = try Self.numbers(&spool)
        #expect(left.last == 200)
        #expect(spool.batchesLost == 200 - UInt64(left.count))
        let told = notices.reduce(UInt64(0)) { sum, notice in
            if case .overBudget(let lost) = notice { sum + lost } else { sum }
        }
        #expect(told == spool.batchesLost)
    }

    @Test(
        "each batch names the one before it that is still held, over a gap, too, so that nobody waits for what is lost")
    func follows() throws {
        let folder = ScratchFolder()
        var spool = try Self.open(folder).spool
        _ = try Self.append(&spool, 1...20)
        spool.acknowledge(Self.firstID, upTo: 3)
        func named(_ spool: inout UsageSpool, after position: SpoolPosition? = nil) throws -> [UInt64: UInt64] {
            let held = try spool.batches(after: position, limit: 100)
            return Dictionary(uniqueKeysWithValues: held.map { ($0.batch.number, $0.batch.follows) })
        }
        let whole = try named(&spool)
        #expect(whole[4] == 0 && whole[5] == 4 && whole[20] == 19)
        // Where the sending goes on in the middle, it says the same.
        let fifth = try spool.batches(after: nil, limit: 5).last
        #expect(try named(&spool, after: fifth?.position)[9] == 8)
        // A file of the middle is gone.
        let files = HostFileSystem()
        let names = try files.list(folder.path + "/usage").sorted()
        try files.remove(folder.path + "/usage/" + names[names.count / 2])
        var again = try Self.open(folder, id: Self.otherID).spool
        let left = try named(&again)
        let numbers = left.keys.sorted()
        let gap = try #require(zip(numbers, numbers.dropFirst()).first { $1 > $0 + 1 })
        #expect(left[gap.1] == gap.0)
        // All before it is acknowledged, or was never held by this process.
        again.acknowledge(Self.firstID, upTo: gap.0)
        #expect(try named(&again)[gap.1] == 0)
    }

    @Test("only so many batches are under way at once")
    func window() throws {
        let folder = ScratchFolder()
        var spool = try Self.open(folder).spool
        _ = try Self.append(&spool, 1...20)
        var window = SendWindow(limit: 8)
        var sent: [UInt64] = []
        func send() throws {
            for (position, batch) in try spool.batches(after: window.position, limit: window.room) {
                window.sent(batch.number, of: Self.firstID, at: position)
                sent.append(batch.number)
            }
        }
        try send()
        #expect(sent == Array(1...8))
        try send()
        #expect(sent.count == 8)
        window.acknowledged(Self.firstID, upTo: 3)
        spool.acknowledge(Self.firstID, upTo: 3)
        try send()
        #expect(sent == Array(1...11))
    }
}
