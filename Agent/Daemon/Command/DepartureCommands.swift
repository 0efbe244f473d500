import AgentDurability
import ArgumentParser
import Foundation
import Logging
import ProcessLog
import ProcessSettings
import ProtocolModel
import Synchronization

struct LeaveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave",
        abstract: "Takes this host back from the site at once: its guests are stopped, and none is started.",
        discussion: """
            For the host's own operator: needs no account at the site. Guests are asked to shut down, and forced off in \
            time for the deadline. That holds until 'roost-agent return', also after a boot. The manager is told at once \
            where it is reachable, otherwise later. The exit status is 0 once no guest of Roost's runs, and 1 where some \
            are left at the deadline; they are gone on with.
            """)

    @OptionGroup var options: SettingsOptions

    @Option(name: .long, help: "When all guests are to be gone at the latest, from 1s to 24h.")
    var deadline = "60s"

    @Option(name: .long, help: "Why; the site's operators see it.")
    var reason: String?

    func validate() throws {
        guard let duration = DurationText.parse(deadline) else {
            throw ValidationError("--deadline is '\(deadline)', but must be a number with a unit, such as 60s or 10m")
        }
        if let objection = Self.request(reason, duration).objection { throw ValidationError(objection) }
    }

    private static func request(_ reason: String?, _ deadline: Duration) -> ControlRequest {
        .leave(reason: reason, deadlineMilliseconds: deadline.milliseconds)
    }

    func run() async throws {
        let settings = try options.read()
        guard let duration = DurationText.parse(deadline) else { return }
        let writer = DepartureWriter(deadline: deadline)
        do {
            try ControlCall.ask(
                Self.request(reason, duration), data: settings.data, within: duration + ControlCall.patience,
                writer.show)
        } catch ControlSocket.Problem.nobodyListens {
            try await standIn(settings, duration, writer)
        } catch {
            throw CommandFailure(error)
        }
        if let failure = writer.failure { throw CommandFailure(failure) }
    }

    /// A call of the hypervisor that hangs does not hold the program up once all is said.
    private static func endSoon(after deadline: Duration, _ writer: DepartureWriter) {
        DispatchQueue.global().asyncAfter(deadline: .now() + Double(deadline.milliseconds) / 1000 + 10) {
            let failure = writer.failure ?? (writer.hasEnded ? nil : .unknown)
            if let failure { RoostAgent.complain("\(failure)") }
            Foundation.exit(failure == nil ? 0 : 1)
        }
    }

    private func standIn(_ settings: AgentSettings, _ duration: Duration, _ writer: DepartureWriter) async throws {
        bootstrapLogging(level: max(settings.logLevel, .warning))
        let logger = Logger(label: "roost-agent")
        do {
            let standIn = try StandIn(settings: settings, logger: logger) { node, boot in
                try HostParts.open(settings, node: node, boot: boot, imagePath: { _ in nil }, logger: logger)
            }
            writer.say("no agent runs on this host: its guests are stopped by this program")
            Self.endSoon(after: duration, writer)
            await standIn.leave(reason: reason, deadline: duration, show: writer.show)
        } catch FolderLock.Failure.held(let folder) {
            throw CommandFailure(DepartureProblem.deaf(folder: folder))
        } catch {
            throw CommandFailure(error)
        }
    }
}

struct ReturnCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "return",
        abstract: "Gives this host back to the site after 'roost-agent leave'.",
        discussion: """
            The site uses the host as before, unless its own operators or the host's windows keep it out of service; \
            guests that were stopped start again.
            """)

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let settings = try options.read()
        let writer = DepartureWriter(deadline: "")
        do {
            try ControlCall.ask(.comeBack, data: settings.data, writer.show)
        } catch ControlSocket.Problem.nobodyListens {
            try Self.comeBack(settings, writer)
        } catch {
            throw CommandFailure(error)
        }
        if let failure = writer.failure { throw CommandFailure(failure) }
    }

    private static func comeBack(_ settings: AgentSettings, _ writer: DepartureWriter) throws {
        do {
            let hadLeft = try StandIn.comeBack(data: settings.data)
            writer.say(
                hadLeft
                    ? "given back; no agent runs on this host: start it for the site to use it"
                    : "the host had not been taken back")
        } catch FolderLock.Failure.held(let folder) {
            throw CommandFailure(DepartureProblem.deaf(folder: folder))
        } catch {
            throw CommandFailure(error)
        }
    }
}

enum DepartureProblem: Error, Equatable, CustomStringConvertible {
    case remaining(String)
    /// An agent runs that does not listen.
    case deaf(folder: String)
    case refused(String)
    case notKept(String)
    case unknown

    var description: String {
        switch self {
        case .remaining(let sentence), .refused(let sentence): sentence
        case .deaf(let folder):
            "an agent works on \(folder) but does not listen there: it is just starting, or of an older version; try again, "
                + "or stop it (guests run on) and ask again"
        case .notKept(let problem):
            "no guest runs, but that this host was taken back is not on its disk: a restart of the agent would start guests "
                + "again (\(problem))"
        case .unknown:
            "the hypervisor did not answer, so that nobody knows what runs; the agent stops every guest as soon as it does"
        }
    }
}

/// Asks the agent of this host.
enum ControlCall {
    /// How long an agent may take for what takes it no time.
    static let patience = Duration.seconds(30)

    /// Gives each answer to `show`, up to the last. Blocks.
    static func ask(
        _ request: ControlRequest, data: String, within limit: Duration = patience, _ show: (ControlAnswer) -> Void
    ) throws(ControlSocket.Problem) {
        let socket = try ControlSocket.connect(in: data, within: patience)
        do throws(ControlSocket.Problem) {
            try socket.send(request.controlLine)
        } catch .failed(_, _, EPIPE) {
            // One that has no place for another says so and hangs up, which is there to be read.
        }
        do {
            try socket.readLines(limit: 1 << 20, within: limit) { line in
                guard let answer = try? JSONDecoder().decode(ControlAnswer.self, from: Data(line)) else { return true }
                show(answer)
                return !answer.isLast
            }
        } catch let problem as ControlSocket.Problem {
            throw problem
        } catch {
            throw .ended
        }
    }
}

/// Writes what the agent answers for a person, line by line, and keeps what it comes to.
final class DepartureWriter: Sendable {
    private let deadline: String
    private let result = Mutex<DepartureProblem?>(nil)
    private let ended = Mutex(false)

    init(deadline: String) { self.deadline = deadline }

    var failure: DepartureProblem? { result.withLock { $0 } }
    /// The last word was said.
    var hasEnded: Bool { ended.withLock { $0 } }

    func say(_ sentence: String) { FileHandle.standardOutput.write(Data("\(sentence)\n".utf8)) }

    func show(_ answer: ControlAnswer) {
        if answer.isLast { ended.withLock { $0 = true } }
        switch Self.reading(answer, deadline: deadline) {
        case .success(let sentence): say(sentence)
        case .failure(let problem): result.withLock { $0 = problem }
        }
    }

    /// What an answer says to a person.
    static func reading(_ answer: ControlAnswer, deadline: String) -> Result<String, DepartureProblem> {
        switch answer {
        case .guest(let guest, let phase): return .success("\(guest.words): \(words(phase))")
        case .left(_, false, _, _): return .failure(.unknown)
        case .left(let remaining, _, let hasSession, let problem):
            guard remaining.isEmpty else {
                let names = remaining.prefix(100).map(\.words).joined(separator: ", ")
                let count = remaining.count == 1 ? "1 guest" : "\(remaining.count) guests"
                return .failure(
                    .remaining("\(count) left after \(deadline), which the agent goes on forcing off: \(names)"))
            }
            if let problem { return .failure(.notKept(problem)) }
            return .success(
                "this host is yours: no guest of Roost's runs, and none is started before 'roost-agent return'"
                    + (hasSession ? "" : "; the manager is told as soon as it is reachable"))
        case .returned(false, _): return .success("the host had not been taken back")
        case .returned(true, let hasSession):
            return .success("given back" + (hasSession ? "" : "; the manager is told as soon as it is reachable"))
        case .refused(let sentence): return .failure(.refused(sentence))
        }
    }

    private static func words(_ phase: String) -> String {
        switch phase {
        case "shutting_down": "asked to shut down"
        case "forced_off": "being forced off"
        case "unclear": "being looked at"
        default: phase
        }
    }
}
