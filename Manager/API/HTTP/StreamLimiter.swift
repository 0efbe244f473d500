import ProtocolModel
import Synchronization

/// Bounds how many event streams are open, in all and for each user.
final class StreamLimiter: Sendable {
    static let maximum = 256
    static let maximumPerUser = 32

    private let open = Mutex<[UserID: Int]>([:])

    func hasRoom(for user: UserID?) -> Bool {
        guard let user else { return false }
        return open.withLock { Self.hasRoom($0, user) }
    }

    func enter(_ user: UserID?) -> Bool {
        guard let user else { return false }
        return open.withLock { open in
            guard Self.hasRoom(open, user) else { return false }
            open[user, default: 0] += 1
            return true
        }
    }

    func leave(_ user: UserID?) {
        guard let user else { return }
        open.withLock { open in
            let left = open[user, default: 1] - 1
            open[user] = left > 0 ? left : nil
        }
    }

    private static func hasRoom(_ open: [UserID: Int], _ user: UserID) -> Bool {
        open.values.reduce(0, +) < maximum && open[user, default: 0] < maximumPerUser
    }

    var count: Int { open.withLock { $0.values.reduce(0, +) } }
}
