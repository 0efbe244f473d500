import NIOPosix
import Synchronization

/// Hashes and checks passwords on two threads of its own. Each hash takes 32 MiB, so both the threads and the queue
/// before them are bounded: whoever comes when it is full is told so, instead of making everybody wait (P10).
public final class PasswordHasher: Sendable {
    private let threads: NIOThreadPool
    private let waiting = Mutex(0)
    private let limit: Int
    private let cost: PasswordHash.Cost
    /// Checked where there is no such user, so that the time of an answer does not tell which names exist.
    private let decoy: String

    public convenience init() {
        self.init(threads: 2, limit: 32, cost: .usual)
    }

    init(threads count: Int, limit: Int, cost: PasswordHash.Cost) {
        threads = NIOThreadPool(numberOfThreads: count)
        threads.start()
        self.limit = limit
        self.cost = cost
        let key = String(repeating: "A", count: 42) + "A"
        decoy = "$scrypt$ln=\(cost.exponent),r=\(cost.blockSize),p=\(cost.parallelism)$AAAAAAAAAAAAAAAAAAAAAA$\(key)"
    }

    /// The encoded hash of a new password.
    ///
    /// - Throws: `IdentityError.passwordRefused` with a sentence, or `.busy`.
    public func hash(_ password: String, userName: String) async throws -> String {
        if let objection = PasswordPolicy.objection(to: password, userName: userName) {
            throw IdentityError.passwordRefused(objection)
        }
        let cost = cost
        return try await run { try PasswordHash(of: password, salt: PasswordHash.freshSalt(), cost: cost).encoded }
    }

    /// Whether the password fits; for a user who does not exist (`nil`) it takes as long and is false.
    ///
    /// - Throws: `IdentityError.busy`, or `.malformedPasswordHash` where the stored text is none.
    public func verify(_ password: String, against encoded: String?) async throws -> Bool {
        guard password.utf8.count <= PasswordPolicy.maximumBytes else { return false }
        let stored = encoded ?? decoy
        let matches = try await run { try PasswordHash(encoded: stored).matches(password) }
        return matches && encoded != nil
    }

    /// Ends the threads. To be called once, when nobody signs in any more.
    public func close() async {
        try? await threads.shutdownGracefully()
    }

    private func run<Output: Sendable>(_ work: @escaping @Sendable () throws -> Output) async throws -> Output {
        let isAdmitted = waiting.withLock { count in
            guard count < limit else { return false }
            count += 1
            return true
        }
        guard isAdmitted else { throw IdentityError.busy }
        defer { waiting.withLock { $0 -= 1 } }
        return try await threads.runIfActive(work)
    }
}
