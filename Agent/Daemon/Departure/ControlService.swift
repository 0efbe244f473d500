import AgentDurability
import Foundation
import Logging
import ProcessThreads
import ProtocolModel
import ServiceLifecycle
import Synchronization

/// Answers programs on this host: root, and who the agent runs as. Nothing that they send can do more than is said in
/// `ControlRequest`.
final class ControlService: Service {
    /// So many may ask at a time; the next wait in the kernel.
    private static let maximumCallers = 8
    /// How soon the end of the daemon, and a change of a guest, is seen.
    private static let pause = Duration.milliseconds(100)

    private let socket: ControlSocket
    private let keeper: DepartureKeeper
    private let time: any TimeSource
    private let logger: Logger
    private let threads = ThreadGroup(maximum: maximumCallers + 1)
    private let isOver = Mutex(false)

    /// - Parameter data: a folder that this process has to itself.
    init(data: String, keeper: DepartureKeeper, time: any TimeSource, logger: Logger) throws(ControlSocket.Problem) {
        socket = try ControlSocket.listen(in: data)
        self.keeper = keeper
        self.time = time
        self.logger = logger
    }

    func run() async throws {
        threads.start(name: "roost-control") { self.listen() }
        let (ended, end) = AsyncStream.makeStream(of: Void.self)
        await cancelWhenGracefulShutdown {
            for await _ in ended {}
        }
        end.finish()
        isOver.withLock { $0 = true }
    }

    private func listen() {
        while !isOver.withLock({ $0 }) {
            guard let caller = socket.accept(within: .milliseconds(500)) else { continue }
            guard threads.start(name: "roost-caller", { self.serve(caller) }) else {
                say(.refused("too many programs ask the agent at once; try again"), to: caller)
                continue
            }
        }
    }

    private func serve(_ caller: ControlSocket) {
        caller.limitReading(to: .seconds(5))
        guard let peer = caller.peer, peer == 0 || peer == geteuid() else {
            logger.warning("a program of another user asked the agent for something and was refused")
            say(.refused("only root may take this host back or give it back"), to: caller)
            return
        }
        var line: [UInt8] = []
        do {
            try caller.readLines(limit: ControlRequest.maximumBytes) {
                line = $0
                return false
            }
        } catch { return }
        guard let request = try? JSONDecoder().decode(ControlRequest.self, from: Data(line)) else {
            say(.refused("the agent does not understand this program; are they of the same version?"), to: caller)
            return
        }
        if let objection = request.objection {
            say(.refused(objection), to: caller)
            return
        }
        switch request {
        case .leave(let reason, let milliseconds):
            leave(reason: reason, deadline: .milliseconds(milliseconds), caller)
        case .comeBack:
            do {
                say(.returned(hadLeft: try keeper.comeBack(), hasSession: keeper.hasSession), to: caller)
            } catch {
                say(.refused("\(error); the host stays taken back"), to: caller)
            }
        }
    }

    /// The host is taken back whether or not the caller listens; who does not is told nothing more, and holds no place.
    private func leave(reason: String?, deadline: Duration, _ caller: ControlSocket) {
        let endsAt = time.uptime + deadline
        let (departure, guests, problem) = keeper.leave(reason: reason, deadline: deadline)
        var progress = DepartureProgress(endsAt: endsAt, guests: guests, problem: problem?.description)
        while !isOver.withLock({ $0 }), !caller.isAbandoned {
            if let overtaken = keeper.overtaking(departure) {
                say(.refused(overtaken), to: caller)
                return
            }
            let answers = progress.look(
                keeper.sight(of: departure), hasSession: keeper.hasSession, at: time.uptime)
            for answer in answers {
                guard say(answer, to: caller) else { return }
                if answer.isLast { return }
            }
            Thread.sleep(forTimeInterval: Double(Self.pause.milliseconds) / 1000)
        }
    }

    @discardableResult
    private func say(_ answer: ControlAnswer, to caller: ControlSocket) -> Bool {
        (try? caller.send(answer.controlLine)) != nil
    }
}
