@testable import AgentDaemon
import AgentLink
import AgentReconcile
import Foundation
import ProtocolMessages
import ProtocolModel
import Synchronization
import Testing
import TestsSupportAssignments
import TestsSupportFiles
import TestsSupportWaiting

/// A host's own operator and its agent, over the socket that the program uses.
@Suite("Leaving and coming back", .serialized)
struct DepartureTests {
    /// Asks as the program does, on a thread that may block.
    private func ask(_ request: ControlRequest, _ site: AgentTests.Site) async throws -> [ControlAnswer] {
        let data = site.folder.path
        return try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                var answers: [ControlAnswer] = []
                continuation.resume(
                    with: Result {
                        try ControlCall.ask(request, data: data, within: .seconds(90)) { answers.append($0) }
                        return answers
                    })
            }
        }
    }

    private func leave(_ site: AgentTests.Site, seconds: Int64 = 30) async throws -> [ControlAnswer] {
        try await ask(.leave(reason: "lecture", deadlineMilliseconds: seconds * 1000), site)
    }

    /// Whether the host had left.
    private func comesBack(_ site: AgentTests.Site) async throws -> Bool {
        let answers = try await ask(.comeBack, site)
        guard case .returned(let hadLeft, _)? = answers.last, answers.count == 1 else {
            throw DepartureProblem.unknown
        }
        return hadLeft
    }

    private func runs(_ site: AgentTests.Site) -> Bool {
        site.host.state.withLock { $0.domains[firstInstance]?.isRunning == true }
    }

    @Test(
        "with a manager: it is told, guests stop and their use is sent; given back, they start", .timeLimit(.minutes(2))
    )
    func connected() async throws {
        let site = try AgentTests.Site()
        let manager = site.manager
        try await site.withManager {
            manager.want([instanceMessage(firstInstance)])
            try await site.withAgent { _ in
                try await eventually { manager.observed(firstInstance) == .running }
                #expect(manager.state.withLock { $0.hellos.last?.hasHostHold } == true)
                let answers = try await leave(site)
                #expect(answers.contains { if case .guest(_, ControlAnswer.stopped) = $0 { true } else { false } })
                // Whether its session stands at that very moment is for a busy machine to say.
                guard case .left([], true, _, nil)? = answers.last else {
                    Issue.record("\(answers)")
                    return
                }
                #expect(!runs(site))
                try await eventually { manager.state.withLock { $0.holds.last?.left } == true }
                try await eventually { manager.observed(firstInstance) == .stopped }
                #expect(try await comesBack(site), "it had left")
                try await eventually { manager.observed(firstInstance) == .running }
                #expect(manager.state.withLock { $0.holds.last?.left } == false)
                #expect(try await !comesBack(site), "it is back already")
            }
        }
    }

    @Test("without a manager, over a restart of the agent, and a boot of the host", .timeLimit(.minutes(2)))
    func cutOff() async throws {
        let site = try AgentTests.Site()
        try await site.withManager {
            site.manager.want([instanceMessage(firstInstance)])
            try await site.withAgent { _ in
                try await eventually { site.manager.observed(firstInstance) == .running }
            }
        }
        try await site.withAgent { _ in
            try await eventually { runs(site) }
            let answers = try await leave(site)
            #expect(answers.last == .left(remaining: [], isComplete: true, hasSession: false, problem: nil))
            #expect(!runs(site))
        }
        site.host.state.withLock { $0.domains = [:] }
        try Data("01900000-0000-7000-8000-00000000b009\n".utf8).write(
            to: URL(fileURLWithPath: site.folder.path + "/boot"))
        try await site.withAgent { agent in
            try await eventually { agent.reconcile.figures.departure?.isEmpty == true }
            #expect(!runs(site), "the kept assignments want it, and the host is not theirs")
            _ = try await ask(.comeBack, site)
            try await eventually { runs(site) }
        }
    }

    @Test("a hypervisor that does not answer, and a guest that does not end, are told at the deadline")
    func late() async throws {
        let site = try AgentTests.Site()
        try await site.withManager {
            site.manager.want([instanceMessage(firstInstance)])
            try await site.withAgent { _ in
                try await eventually { runs(site) }
                site.host.state.withLock { $0.isAway = true }
                let answers = try await leave(site, seconds: 1)
                guard case .left(_, let isComplete, _, _)? = answers.last else {
                    Issue.record("\(answers)")
                    return
                }
                #expect(!isComplete)
                #expect(throws: DepartureProblem.unknown) {
                    try DepartureWriter.reading(answers[answers.count - 1], deadline: "1s").get()
                }
                site.host.state.withLock { $0.isAway = false }
                try await eventually { !runs(site) }
            }
        }
    }

    @Test(
        "where no agent runs, the program ends the guests itself and the agent that comes knows",
        .timeLimit(.minutes(2)))
    func standIn() async throws {
        let site = try AgentTests.Site()
        try await site.withManager {
            site.manager.want([instanceMessage(firstInstance)])
            try await site.withAgent { _ in
                try await eventually { site.manager.milliseconds(of: firstInstance) > 0 }
            }
            await #expect(throws: ControlSocket.Problem.self) { try await leave(site) }
            #expect(runs(site))
            let counted = site.manager.milliseconds(of: firstInstance)
            let shown = Mutex<[ControlAnswer]>([])
            do {
                let standIn = try StandIn(settings: try site.settings(), logger: silent) { _, _ in
                    site.parts
                }
                #expect(throws: (any Error).self, "no agent starts meanwhile") { try site.agent() }
                await standIn.leave(reason: nil, deadline: .seconds(30)) { answer in
                    shown.withLock { $0.append(answer) }
                }
            }
            #expect(!runs(site))
            #expect(
                shown.withLock { $0.last } == .left(remaining: [], isComplete: true, hasSession: false, problem: nil))
            try await site.withAgent { _ in
                try await eventually { site.manager.state.withLock { $0.hellos.last?.hostHold.left } == true }
                try await eventually { site.manager.milliseconds(of: firstInstance) > counted }
                #expect(!runs(site))
            }
            #expect(try StandIn.comeBack(data: site.folder.path))
            #expect(try !StandIn.comeBack(data: site.folder.path))
            try await site.withAgent { _ in try await eventually { runs(site) } }
        }
    }

    @Test("who is overtaken is told, and who is gone holds no place", .timeLimit(.minutes(2)))
    func abandoned() async throws {
        let site = try AgentTests.Site()
        try await site.withManager {
            site.manager.want([instanceMessage(firstInstance)])
            try await site.withAgent { _ in
                try await eventually { runs(site) }
                // A hypervisor that hangs: each of these is answered in a day.
                site.host.state.withLock { $0.isAway = true }
                let day = ControlRequest.leave(reason: nil, deadlineMilliseconds: 86_400_000)
                async let first = ask(day, site)
                try await eventually { FileManager.default.fileExists(atPath: site.folder.path + "/departure") }
                async let second = ask(day, site)
                let overtaken = "the host was taken back once more meanwhile, and the later deadline holds"
                let earlier = try await first
                #expect(earlier.last == .refused(overtaken))
                #expect(try await comesBack(site))
                let returned = "the host was given back meanwhile by 'roost-agent return'"
                let later = try await second
                #expect(later.last == .refused(returned))

                var callers = try (0..<8).map { _ in try ControlSocket.connect(in: site.folder.path) }
                for caller in callers { try caller.send(day.controlLine) }
                try await eventually {
                    guard case .refused? = try await ask(.comeBack, site).last else { return false }
                    return true
                }
                callers = []
                site.host.state.withLock { $0.isAway = false }
                try await eventually {
                    _ = try await ask(.comeBack, site)
                    return runs(site)
                }
            }
        }
    }

    @Test("an agent that takes the question and says nothing is told after a time")
    func noAnswer() throws {
        let folder = ScratchFolder()
        let listening = try ControlSocket.listen(in: folder.path)
        #expect(throws: ControlSocket.Problem.silent(after: .milliseconds(200))) {
            try ControlCall.ask(.comeBack, data: folder.path, within: .milliseconds(200)) { _ in }
        }
        withExtendedLifetime(listening) {}
    }

    @Test("requests that make no sense are answered with a sentence")
    func nonsense() async throws {
        let site = try AgentTests.Site()
        try await site.withManager {
            try await site.withAgent { _ in
                for request in [
                    ControlRequest.leave(reason: nil, deadlineMilliseconds: 0),
                    .leave(reason: "a\nb", deadlineMilliseconds: 1000),
                    .leave(reason: String(repeating: "x", count: 300), deadlineMilliseconds: 1000),
                ] {
                    let answers = try await ask(request, site)
                    guard case .refused? = answers.last else {
                        Issue.record("\(answers)")
                        continue
                    }
                }
                let socket = try ControlSocket.connect(in: site.folder.path)
                try socket.send(Array("nonsense\n".utf8))
                var answer: [UInt8] = []
                try socket.readLines(limit: 4096) {
                    answer = $0
                    return false
                }
                #expect(String(decoding: answer, as: UTF8.self).contains("refused"))
                #expect(runs(site) == false && !FileManager.default.fileExists(atPath: site.folder.path + "/departure"))
            }
        }
    }

    @Test("each change of a guest is told once, and what is left at the deadline is named")
    func progress() {
        let now = Timestamp(milliseconds: 0)
        let departure = Departure(reason: "", since: now, deadline: .seconds(60))
        var progress = DepartureProgress(endsAt: Uptime(sinceStart: .seconds(60)))
        func look(_ phases: [RemainingGuest.Phase], _ seconds: Int, complete: Bool = true) -> [ControlAnswer] {
            let guests = zip([firstInstance, secondInstance], phases)
                .map { RemainingGuest(instance: $0, name: "vm", phase: $1) }
            return progress.look(
                DepartureSight(departure: departure, isComplete: complete, remaining: guests), hasSession: true,
                at: Uptime(sinceStart: .seconds(seconds)))
        }
        #expect(progress.look(nil, hasSession: true, at: Uptime(sinceStart: .zero)).isEmpty)
        #expect(look([], 0, complete: false).isEmpty)
        #expect(look([.running, .running], 1).count == 2)
        #expect(look([.running, .running], 2).isEmpty)
        #expect(look([.shuttingDown], 3).count == 2)
        let last = look([.forcedOff], 60)
        #expect(last.count == 2 && last[1].isLast)
        #expect(throws: DepartureProblem.self) { try DepartureWriter.reading(last[1], deadline: "60s").get() }
        // One that was gone before anybody looked is told, too.
        var fast = DepartureProgress(
            endsAt: Uptime(sinceStart: .seconds(60)),
            guests: [RemainingGuest(instance: firstInstance, name: "vm", phase: .running)])
        let answers = fast.look(
            DepartureSight(departure: departure, isComplete: true, remaining: []), hasSession: true,
            at: Uptime(sinceStart: .seconds(1)))
        #expect(answers.count == 2 && answers[0].isLast == false && answers[1].isLast)
        guard case .failure(let problem) = DepartureWriter.reading(last[1], deadline: "60s") else { return }
        #expect(problem.description.contains("vm (\(firstInstance))") && problem.description.contains("60s"))
    }
}
