import Glibc

/// What the converter is put into, as far as this process may: a network of its own with nothing in it, and a user that
/// owns nothing but the two files.
struct ConverterSandbox: Sendable, Equatable {
    struct User: Sendable, Equatable {
        var user: uid_t
        var group: gid_t
    }

    static let limiter = "/usr/bin/prlimit"
    private static let separator = "/usr/bin/unshare"
    private static let credentialSetter = "/usr/bin/setpriv"
    /// A site may make a user for this; `nobody` is everywhere.
    private static let users = ["roost-convert", "nobody"]
    private static let truth = "/bin/true"

    var hasOwnNetwork: Bool
    /// `nil`: the manager's own, since only root can become another.
    var user: User?

    static let none = ConverterSandbox(hasOwnNetwork: false, user: nil)

    var isComplete: Bool { hasOwnNetwork && user != nil }

    var shortcoming: String {
        let lacks = [hasOwnNetwork ? nil : "a network of its own", user == nil ? "a user of its own" : nil]
        return "it has not \(lacks.compactMap { $0 }.joined(separator: " and ")); start the manager as root, where "
            + "namespaces are allowed"
    }

    /// Put in front of the limits. All of them `exec`, so that it is one process to the end, which a kill reaches.
    var namespaces: [String] { hasOwnNetwork ? [Self.separator, "--net", "--ipc", "--uts", "--"] : [] }

    /// Put behind the limits, which only root can set as high as they are.
    var credentials: [String] {
        guard let user else { return [] }
        return [
            Self.credentialSetter, "--reuid=\(user.user)", "--regid=\(user.group)", "--clear-groups",
            "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--",
        ]
    }

    /// What works here: root may be in a container that forbids some of it.
    static func detect() async -> ConverterSandbox {
        guard geteuid() == 0 else { return .none }
        var sandbox = ConverterSandbox(hasOwnNetwork: true, user: nil)
        if !(await works(sandbox.namespaces)) { sandbox.hasOwnNetwork = false }
        sandbox.user = users.lazy.compactMap(find).first
        if !(await works(sandbox.credentials)) { sandbox.user = nil }
        return sandbox
    }

    private static func works(_ words: [String]) async -> Bool {
        guard let program = words.first, access(program, X_OK) == 0 else { return false }
        let outcome = try? await ChildProgram.run(program, Array(words.dropFirst()) + [truth])
        if case .succeeded? = outcome { return true }
        return false
    }

    private static func find(_ name: String) -> User? {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var texts = [CChar](repeating: 0, count: 4096)
        guard getpwnam_r(name, &entry, &texts, texts.count, &found) == 0, found != nil, entry.pw_uid != 0 else {
            return nil
        }
        return User(user: entry.pw_uid, group: entry.pw_gid)
    }
}
