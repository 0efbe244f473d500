import Foundation
import Glibc
import Logging
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle

/// What the operator asks of a manager that runs and holds the record: a file in its data folder, which nobody else may enter.
struct ConsoleRequest: Codable, Sendable {
    enum Action: String, Codable, Sendable {
        case setPassword = "set_password"
        case enable
    }

    var action: Action
    var user: String
    /// Hashed by the one who asks: no password lies on the disk.
    var passwordHash: String?

    /// Does it, in one transaction.
    func perform(at now: Timestamp, in transaction: Transaction) throws {
        switch action {
        case .setPassword:
            guard let passwordHash else { throw Refusal(.invalidRequest, "the password is missing") }
            try OperatorService().setPassword(passwordHash, of: user, at: now, in: transaction)
        case .enable: try OperatorService().enable(user, at: now, in: transaction)
        }
    }
}

/// What became of a request: `nil` done, otherwise a sentence.
private struct ConsoleAnswer: Codable, Sendable {
    var refusal: String?
}

/// The folder of requests, from both sides.
struct ConsoleFolder: Sendable {
    let path: String

    init(data: String) { path = data + "/console" }

    private func file(_ id: String, _ kind: String) -> String { "\(path)/\(id).\(kind)" }

    /// Hands a request to the manager that runs, and waits until it is done.
    ///
    /// - Throws: `SiteError` with the manager's refusal, or where no manager answers.
    func ask(_ request: ConsoleRequest, patience: Duration = .seconds(20)) async throws {
        try make()
        let id = UUID().uuidString.lowercased()
        try write(request, id, "request")
        let end = ContinuousClock.now + patience
        while ContinuousClock.now < end {
            if let answer: ConsoleAnswer = take(id, "answer") {
                if let refusal = answer.refusal { throw SiteError.files(refusal) }
                return
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        guard unlink(file(id, "request")) == 0 else {
            throw SiteError.files("the manager has begun, and does not say that it is done; see its log")
        }
        throw SiteError.files("the record is in use, and no manager on \(path) answers; is it the right --data?")
    }

    /// Requests that wait, oldest names first.
    func waiting() -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.filter { $0.hasSuffix(".request") }.map { String($0.dropLast(".request".count)) }.sorted()
    }

    /// Takes a request away; `nil` where it is gone or none.
    func take(_ id: String) -> ConsoleRequest? { take(id, "request") }

    func answer(_ id: String, refusal: String?) throws { try write(ConsoleAnswer(refusal: refusal), id, "answer") }

    /// Makes the folder, for the manager's user alone.
    func make() throws {
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    /// Removes what is left of askers that wait no longer.
    func tidy(at now: Timestamp) {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] {
            var facts = stat()
            guard lstat("\(path)/\(name)", &facts) == 0 else { continue }
            let changed = Timestamp(milliseconds: Int64(facts.st_mtim.tv_sec) * 1000)
            if now - changed > .seconds(60) { unlink("\(path)/\(name)") }
        }
    }

    private func write(_ value: some Encodable, _ id: String, _ kind: String) throws {
        let (temporary, final) = (file(id, "new"), file(id, kind))
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw SiteError.files("cannot write \(temporary): \(String(cString: strerror(errno)))")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try handle.write(contentsOf: JSONEncoder().encode(value))
        // Root asks a manager that may run as another user.
        var facts = stat()
        if geteuid() == 0, stat(path, &facts) == 0 { fchown(descriptor, facts.st_uid, facts.st_gid) }
        // Whole or not at all, for the one who looks.
        guard rename(temporary, final) == 0 else {
            throw SiteError.files("cannot write \(final): \(String(cString: strerror(errno)))")
        }
    }

    private func take<Value: Decodable>(_ id: String, _ kind: String) -> Value? {
        let path = file(id, kind)
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        unlink(path)
        return try? JSONDecoder().decode(Value.self, from: data)
    }
}

/// Does what the operator asks on this host, while the manager runs.
struct ConsoleRequests: Service {
    let folder: ConsoleFolder
    let store: Store
    let time: any TimeSource
    let logger: Logger

    func run() async throws {
        do {
            try folder.make()
        } catch {
            logger.warning("the operator's requests cannot be taken", metadata: ["error": "\(error)"])
        }
        folder.tidy(at: time.timestamp)
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                for id in folder.waiting() { await serve(id) }
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    private func serve(_ id: String) async {
        guard let request = folder.take(id) else { return }
        let now = time.timestamp
        var refusal: String?
        do {
            try await store.write { sql in try request.perform(at: now, in: sql) }
            logger.notice(
                "the operator's request is done",
                metadata: ["action": "\(request.action.rawValue)", "user": "\(request.user)"])
        } catch let error as Refusal {
            refusal = error.sentence
        } catch {
            refusal = "\(error)"
        }
        do {
            try folder.answer(id, refusal: refusal)
        } catch {
            logger.error("the operator's request cannot be answered", metadata: ["error": "\(error)"])
        }
    }
}
