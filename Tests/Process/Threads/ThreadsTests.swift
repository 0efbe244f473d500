import Dispatch
import Foundation
import ProcessThreads
import Testing

@Suite("Threads of our own")
struct ThreadsTests {
    @Test("a thread that waits sees the update that it waits for, and gives up after its limit")
    func waiting() async {
        let number = Monitor(0)
        let seen = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(returning: number.wait { $0 >= 1000 ? $0 : nil } ?? -1)
            }
            for _ in 0..<4 {
                Thread.detachNewThread { for _ in 0..<250 { number.update { $0 += 1 } } }
            }
        }
        #expect(seen == 1000)
        #expect(number.wait(upTo: .milliseconds(1)) { $0 > 1000 ? true : nil } == nil)
        // What is there already needs no waiting.
        #expect(number.wait(upTo: .zero) { $0 == 1000 ? true : nil } == true)
    }

    @Test("every job of a queue is done once, and none is taken in after its end")
    func queue() async throws {
        let queue = JobQueue<Int>(limit: 10_000)
        let done = Monitor<[Int]>([])
        let group = ThreadGroup(maximum: 4)
        for _ in 0..<4 {
            group.start(name: "take") {
                while let jobs = queue.take(upTo: 7) { done.update { $0 += jobs } }
            }
        }
        #expect(!group.start(name: "one too many") {})
        for number in 0..<1000 { try queue.add(number) }
        queue.close()
        #expect(throws: JobQueue<Int>.Refusal.closed) { try queue.add(1000) }
        await Task.detached { group.waitForAll() }.value
        #expect(done.withLock { $0.sorted() } == Array(0..<1000))
    }

    @Test("a queue that is full refuses, and says whether a thread waits for the job")
    func full() throws {
        let queue = JobQueue<Int>(limit: 2)
        #expect(try !queue.add(1))
        try queue.add(2)
        #expect(throws: JobQueue<Int>.Refusal.full) { try queue.add(3) }
        #expect(queue.take(upTo: 1) == [1])
        #expect(queue.take(upTo: 5) == [2])
    }

    @Test("patient jobs come after the others, and are never left behind for good")
    func patient() throws {
        let queue = JobQueue<Int>(limit: 100)
        for number in 0..<8 {
            try queue.add(100 + number, isPatient: true)
            try queue.add(number)
        }
        #expect(queue.count == 16)
        #expect(queue.take(upTo: 4) == [0, 1, 2, 100])
        #expect(queue.take(upTo: 1) == [3])
        #expect(queue.take(upTo: 8) == [4, 5, 6, 7, 101, 102, 103, 104])
        #expect(queue.take(upTo: 8) == [105, 106, 107])
    }

    @Test("patient jobs take no place from the others, and are bounded by themselves")
    func patientLimit() throws {
        let queue = JobQueue<Int>(limit: 1, patientLimit: 2)
        try queue.add(1, isPatient: true)
        try queue.add(2, isPatient: true)
        #expect(throws: JobQueue<Int>.Refusal.full) { try queue.add(3, isPatient: true) }
        try queue.add(4)
        #expect(throws: JobQueue<Int>.Refusal.full) { try queue.add(5) }
        #expect(queue.take(upTo: 5) == [4, 1, 2])
    }

    @Test("urgent jobs come before all others, also for a thread that has some in hand")
    func urgent() throws {
        let queue = JobQueue<Int>(limit: 100)
        for number in 0..<4 { try queue.add(number) }
        try queue.add(100, isPatient: true)
        try queue.add(200, isUrgent: true)
        try queue.add(201, isUrgent: true)
        #expect(queue.count == 7)
        #expect(queue.take(upTo: 1) == [200])
        #expect(queue.take(upTo: 3) == [201, 0, 1])
        #expect(queue.takeUrgent() == [])
        try queue.add(202, isUrgent: true)
        #expect(queue.takeUrgent() == [202])
        #expect(queue.take(upTo: 8) == [2, 3, 100])
    }

    @Test("as many blocking calls run at once as there are threads, and the rest follow")
    func together() async throws {
        let threads = BlockingThreads(name: "test", threads: 3)
        defer { threads.close() }
        let running = Monitor(0)
        let highest = Monitor(0)
        let gate = DispatchSemaphore(value: 0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<9 {
                group.addTask {
                    try await threads.run {
                        let now = running.withLock { running in
                            running += 1
                            return running
                        }
                        highest.withLock { $0 = max($0, now) }
                        // The first two wait for the third, so that all three have been there together.
                        if now < 3 { gate.wait() } else { for _ in 0..<9 { gate.signal() } }
                        running.withLock { $0 -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(highest.withLock { $0 } == 3)
    }

    @Test("a thread with too much to do refuses more")
    func overload() async throws {
        let thread = BlockingThreads(name: "test", limit: 1)
        defer { thread.close() }
        #expect(try await thread.run { 7 } == 7)
        let gate = DispatchSemaphore(value: 0)
        let (started, running) = AsyncStream<Void>.makeStream()
        async let first: Void = thread.run {
            running.finish()
            gate.wait()
        }
        for await _ in started {}
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<3 { group.addTask { (try? await thread.run {}) != nil } }
            // One waits behind the one that runs, and the others are refused, in whichever order they came.
            var outcomes = [await group.next()!, await group.next()!]
            gate.signal()
            for await outcome in group { outcomes.append(outcome) }
            return outcomes
        }
        try await first
        #expect(outcomes == [false, false, true])
    }
}
