import Foundation
import SimulatorRun
import SimulatorSite
import SimulatorWorld
import Synchronization

/// One run to do.
struct Job: Sendable {
    let seed: UInt64
    let planted: PlantedFault?
}

/// What came of it.
struct Result: Sendable {
    let job: Job
    /// The promise that was broken; `nil`: none.
    let promise: String?
    let sentence: String
    let simulatedSeconds: Double
}

/// The side that simulates: reads seeds line by line and answers each with a line. A process of its own, so that a trap is
/// a result and not the end (P10).
struct Worker {
    let minutes: Double
    let hasDevices: Bool

    func run() {
        while let line = readLine() {
            let parts = line.split(separator: " ")
            guard let seed = parts.first.flatMap({ UInt64($0) }) else { continue }
            let planted = parts.count > 1 ? PlantedFault(rawValue: String(parts[1])) : nil
            let outcome = Simulation(seed: seed, length: .minutes(minutes), planted: planted, hasDevices: hasDevices)
                .run()
            let verdict = outcome.violation.map { "\($0.promise)\t\($0.sentence)" } ?? "-\t"
            print("\(seed)\t\(outcome.simulated.seconds)\t\(verdict.replacing("\n", with: " "))")
            fflush(nil)
        }
    }
}

/// Shares jobs among processes.
struct Crew {
    let minutes: Double
    let hasDevices: Bool
    let processes: Int

    /// - Parameter take: is given each result, one at a time; false where no more are wanted.
    func run(_ jobs: [Job], _ take: (Result) throws -> Bool) throws {
        let desk = Desk(jobs: jobs)
        let threads = (0..<min(processes, max(1, jobs.count))).map { _ in
            let thread = Thread { desk.serve(minutes: minutes, hasDevices: hasDevices) }
            thread.start()
            return thread
        }
        desk.expect(threads.count)
        while let result = desk.nextResult() {
            if try !take(result) { desk.stop() }
        }
    }
}

/// Where jobs lie and results come to.
private final class Desk: Sendable {
    private struct State {
        var jobs: ArraySlice<Job>
        var results: [Result] = []
        var serving = 0
        var expected: Int?
        var finished = 0
    }

    private let state: Mutex<State>
    private let news = DispatchSemaphore(value: 0)

    init(jobs: [Job]) { state = Mutex(State(jobs: jobs[...])) }

    func expect(_ count: Int) { state.withLock { $0.expected = count } }

    func stop() { state.withLock { $0.jobs = [] } }

    func nextResult() -> Result? {
        while true {
            let (result, isOver) = state.withLock { state -> (Result?, Bool) in
                if !state.results.isEmpty { return (state.results.removeFirst(), false) }
                return (nil, state.expected == state.finished)
            }
            if let result { return result }
            if isOver { return nil }
            news.wait()
        }
    }

    private func next() -> Job? { state.withLock { $0.jobs.popFirst() } }

    private func put(_ result: Result) {
        state.withLock { $0.results.append(result) }
        news.signal()
    }

    /// Keeps one process busy; another takes its place where it dies.
    func serve(minutes: Double, hasDevices: Bool) {
        var colleague = Colleague(minutes: minutes, hasDevices: hasDevices)
        while let job = next() {
            guard let answer = colleague?.ask(job) else {
                put(
                    Result(
                        job: job, promise: "P10", sentence: "the simulation's process ended by a trap",
                        simulatedSeconds: 0))
                colleague = Colleague(minutes: minutes, hasDevices: hasDevices)
                continue
            }
            put(answer)
        }
        colleague?.dismiss()
        state.withLock { $0.finished += 1 }
        news.signal()
    }
}

/// A process that simulates.
private struct Colleague {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let reader: UnsafeMutablePointer<FILE>

    init?(minutes: Double, hasDevices: Bool) {
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["--worker", "--minutes", "\(minutes)"] + (hasDevices ? ["--devices"] : [])
        process.standardInput = input
        process.standardOutput = output
        guard (try? process.run()) != nil, let reader = fdopen(dup(output.fileHandleForReading.fileDescriptor), "r")
        else { return nil }
        self.reader = reader
    }

    func ask(_ job: Job) -> Result? {
        let line = "\(job.seed) \(job.planted?.rawValue ?? "")\n"
        guard (try? input.fileHandleForWriting.write(contentsOf: Data(line.utf8))) != nil else { return nil }
        var buffer: UnsafeMutablePointer<CChar>?
        var size = 0
        defer { free(buffer) }
        guard getline(&buffer, &size, reader) > 0, let buffer else { return nil }
        let parts = String(cString: buffer).split(separator: "\t", omittingEmptySubsequences: false)
        guard parts.count >= 4, UInt64(parts[0]) == job.seed else { return nil }
        return Result(
            job: job, promise: parts[2] == "-" ? nil : String(parts[2]),
            sentence: parts[3].trimmingCharacters(in: .newlines), simulatedSeconds: Double(parts[1]) ?? 0)
    }

    func dismiss() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
        fclose(reader)
    }
}
