public import Logging
import ProcessThreads
public import ProtocolModel
import Synchronization

/// Who says whether a name and a password belong together, where that is not the record.
public protocol PersonDirectory: Sendable {
    /// The person with that name, where the password is theirs and the site's rules let them in.
    ///
    /// - Throws: `DirectoryError`
    func authenticate(name: String, password: String) async throws -> DirectoryPerson
}

/// People of LDAP servers.
///
/// Each sign-in has a connection of its own, on one of a few threads; who comes when all are busy and many wait is told so.
public final class UserDirectory: PersonDirectory {
    /// Longer names are nobody's.
    static let maximumNameBytes = 256

    private let settings: DirectorySettings
    private let threads: BlockingThreads
    private let order: Mutex<ServerOrder>
    private let time: any TimeSource
    private let logger: Logger

    public init(
        _ settings: DirectorySettings, threads: Int = 8, limit: Int = 32, time: any TimeSource, logger: Logger
    ) {
        self.settings = settings
        self.threads = BlockingThreads(name: "directory", threads: threads, limit: limit)
        order = Mutex(ServerOrder(count: settings.servers.count))
        self.time = time
        self.logger = logger
    }

    deinit { threads.close() }

    public func authenticate(name: String, password: String) async throws -> DirectoryPerson {
        // A bind with an empty password succeeds for everybody, as nobody (RFC 4513 §5.1.2).
        guard !password.isEmpty, !password.utf8.contains(0), !name.isEmpty, name.utf8.count <= Self.maximumNameBytes
        else {
            throw DirectoryError.wrongCredentials
        }
        do {
            return try await threads.run { [self] in try ask(name, password) }
        } catch is BlockingThreads.Overloaded {
            throw DirectoryError.busy
        }
    }

    private func ask(_ name: String, _ password: String) throws -> DirectoryPerson {
        var troubles: [ServerTrouble] = []
        for index in order.withLock({ $0.order(at: time.uptime) }) {
            let server = settings.servers[index]
            do {
                let connection = try LDAPConnection.open(server, settings) { [time] in time.uptime }
                let person = try SignInQuestions(settings: settings).ask(connection, name: name, password: password)
                noteWorking(index)
                return person
            } catch LDAPFailure.server(let kind) {
                let trouble = ServerTrouble(server, kind)
                troubles.append(trouble)
                noteFailing(index, trouble)
            } catch LDAPFailure.settings(let sentence) {
                throw DirectoryError.misconfigured(sentence)
            } catch LDAPFailure.answer(_, let text) {
                throw DirectoryError.misconfigured("\(server) answers: \(text)")
            } catch let error as DirectoryError {
                noteWorking(index)
                throw error
            }
        }
        throw DirectoryError.unavailable(troubles)
    }

    /// Once for each server's change of state: a dead one must not fill the log with every sign-in.
    private func noteFailing(_ index: Int, _ trouble: ServerTrouble) {
        guard order.withLock({ $0.failed(index, at: time.uptime) }) else { return }
        logger.warning("a directory server fails", metadata: ["reason": "\(trouble)"])
    }

    private func noteWorking(_ index: Int) {
        guard order.withLock({ $0.worked(index) }) else { return }
        logger.info("a directory server works again", metadata: ["server": "\(settings.servers[index])"])
    }
}
