import ArgumentParser
import Foundation
import SimulatorRun
import SimulatorSite
import SimulatorWorld

/// Runs whole sites in simulated time, one for each seed, and says which promises did not hold.
@main
struct RoostSimulator: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "roost-simulator",
        abstract: "Run managers, agents, hosts and users in simulated time, with everything going wrong.",
        discussion: """
            Each seed is one run, the same every time. A run that breaks a promise of DESIGN.md ends with the sentence that \
            says which, and with the command that runs it again. The last line sums up.
            """)

    @Option(help: "How many seeds to run.")
    var seeds: UInt64 = 100

    @Option(help: "The first seed.")
    var firstSeed: UInt64 = 1

    @Option(help: "Simulated minutes of each run.")
    var minutes: Double = 10

    @Option(help: "A file of seeds, one a line, to run before the others.")
    var seedFile: String?

    @Option(help: "A mistake to make on purpose, by name, or 'all': each must be caught.")
    var planted: String?

    @Option(help: "Processes to share the seeds among; the host's processors where it is not given.")
    var processes: Int?

    @Flag(help: "Give hosts devices, and have users ask for them.")
    var devices = false

    @Flag(help: "Print what happens. The same seed prints the same, to the byte.")
    var trace = false

    @Flag(help: .hidden)
    var worker = false

    func validate() throws {
        guard minutes >= 1, minutes <= 10_000 else { throw ValidationError("--minutes is to be 1 to 10000") }
        if let planted, planted != "all", PlantedFault(rawValue: planted) == nil {
            let names = PlantedFault.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("there is no mistake named '\(planted)'; there are: \(names)")
        }
        guard (processes ?? 1) >= 1 else { throw ValidationError("--processes is to be at least 1") }
    }

    func run() throws {
        if worker { return Worker(minutes: minutes, hasDevices: devices).run() }
        if trace { return try follow() }
        let count = processes ?? ProcessInfo.processInfo.activeProcessorCount
        let crew = Crew(minutes: minutes, hasDevices: devices, processes: count)
        if let planted {
            let faults =
                planted == "all" ? PlantedFault.allCases : PlantedFault.allCases.filter { $0.rawValue == planted }
            try check(faults, crew)
        } else {
            try explore(crew)
        }
    }

    private func follow() throws {
        var isBroken = false
        for seed in firstSeed..<(firstSeed + seeds) {
            let outcome = Simulation(
                seed: seed, length: .minutes(minutes), planted: planted.flatMap { PlantedFault(rawValue: $0) },
                hasDevices: devices
            ).run { print($0) }
            print("seed \(seed): \(outcome.happenings) happenings, trace \(String(outcome.traceHash, radix: 16))")
            if let violation = outcome.violation {
                isBroken = true
                print(
                    Report.text(seed: seed, violation.promise, violation.sentence, minutes: minutes, devices: devices))
            }
        }
        if isBroken { throw ExitCode.failure }
    }

    private func explore(_ crew: Crew) throws {
        let began = ContinuousClock.now
        let known = try seedFile.map { try SeedFile.read($0) } ?? []
        var failures = 0
        let jobs =
            known.map { Job(seed: $0, planted: nil) }
            + (firstSeed..<(firstSeed + seeds)).map { Job(seed: $0, planted: nil) }
        var simulated = 0.0
        try crew.run(jobs) { result in
            simulated += result.simulatedSeconds
            if let promise = result.promise {
                failures += 1
                print(
                    Report.text(seed: result.job.seed, promise, result.sentence, minutes: minutes, devices: devices))
                fflush(nil)
            }
            return true
        }
        let wall = max(0.001, (ContinuousClock.now - began) / .seconds(1))
        print(
            "seeds run: \(jobs.count), failures: \(failures), simulated time: \(Report.hours(simulated)) in \(Report.fixed(wall)) s, \(Report.fixed(simulated / wall)) simulated seconds a second"
        )
        if failures > 0 { throw ExitCode.failure }
    }

    private func holds(_ seed: UInt64, _ crew: Crew) throws -> Bool {
        var holds = false
        try crew.run([Job(seed: seed, planted: nil)]) { result in
            holds = result.promise == nil
            return false
        }
        return holds
    }

    /// Each mistake must be caught by one of the seeds, which shows no fault without it.
    private func check(_ faults: [PlantedFault], _ crew: Crew) throws {
        var missed: [String] = []
        for fault in faults {
            var caught: Result?
            var tried = 0
            let jobs = (firstSeed..<(firstSeed + seeds)).map { Job(seed: $0, planted: fault) }
            try crew.run(jobs) { result in
                tried += 1
                // A seed that fails without the mistake says nothing about it.
                if caught == nil, result.promise != nil, try holds(result.job.seed, crew) { caught = result }
                return caught == nil
            }
            if let caught {
                print("caught \(fault.rawValue): seed \(caught.job.seed), \(caught.promise ?? ""): \(caught.sentence)")
            } else {
                print("MISSED \(fault.rawValue) in \(tried) seeds")
                missed.append(fault.rawValue)
            }
            fflush(nil)
        }
        print("planted faults: \(faults.count), caught: \(faults.count - missed.count), missed: \(missed.count)")
        if !missed.isEmpty { throw ExitCode.failure }
    }
}

/// Seeds that once failed, one a line; what follows a `#` says why.
enum SeedFile {
    static func read(_ path: String) throws -> [UInt64] {
        try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").compactMap { line in
            let number = line.prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces)
            if number.isEmpty { return nil }
            guard let seed = UInt64(number) else {
                throw ValidationError("\(path) holds '\(line)', which is no seed")
            }
            return seed
        }
    }
}

enum Report {
    static func text(seed: UInt64, _ promise: String, _ sentence: String, minutes: Double, devices: Bool) -> String {
        let length = (minutes == 10 ? "" : " --minutes \(minutes)") + (devices ? " --devices" : "")
        return """
            seed \(seed) breaks \(promise): \(sentence)
              again: roost-simulator --seeds 1 --first-seed \(seed)\(length) --trace
            """
    }

    static func hours(_ seconds: Double) -> String { "\(fixed(seconds / 3600)) h" }

    static func fixed(_ value: Double) -> String {
        let tenths = Int64((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
