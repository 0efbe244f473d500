import Foundation

/// What `roost login` has kept of one site.
struct Profile: Codable, Equatable, Sendable {
    var endpoint: String
    var authorityPath: String?
    var accessToken: String?
    var refreshToken: String?
    /// Of an API key, for programs: tokens are had with it whenever they are needed.
    var apiKey: APIKey?

    struct APIKey: Codable, Equatable, Sendable {
        var id: String
        var secret: String
    }

    var isSignedIn: Bool { accessToken != nil || refreshToken != nil || apiKey != nil }

    /// Forgets who was signed in; the address stays.
    mutating func signOut() { (accessToken, refreshToken, apiKey) = (nil, nil, nil) }

    enum CodingKeys: String, CodingKey {
        case endpoint
        case authorityPath = "ca_certificate"
        case accessToken = "access_token"
        case refreshToken = "refresh_token"
        case apiKey = "api_key"
    }
}

/// All profiles, and which of them is used where none is named.
struct Profiles: Equatable, Sendable {
    static let usualName = "default"

    var current: String?
    var all: [String: Profile] = [:]

    subscript(_ name: String) -> Profile? {
        get { all[name] }
        set { all[name] = newValue }
    }
}

extension Profiles: Codable {
    enum CodingKeys: String, CodingKey {
        case current
        case all = "profiles"
    }

    init(from decoder: any Decoder) throws {
        if let members = try? decoder.container(keyedBy: CodingKeys.self),
            let all = try? members.decode([String: Profile].self, forKey: .all)
        {
            self.init(current: try members.decodeIfPresent(String.self, forKey: .current), all: all)
        } else {
            // As the first version wrote it: the profiles alone.
            self.init(all: try decoder.singleValueContainer().decode([String: Profile].self))
        }
    }
}

extension Profiles: ExpressibleByDictionaryLiteral {
    init(dictionaryLiteral elements: (String, Profile)...) {
        all = Dictionary(elements) { _, last in last }
    }
}

/// The file of profiles, which nobody else may read: it holds tokens.
struct ProfileFile: Sendable {
    let path: String

    init(path: String) { self.path = path }

    init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        let folder = environment["XDG_CONFIG_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory() + "/.config"
        path = folder + "/roost/config.json"
    }

    private var folder: String { URL(fileURLWithPath: path).deletingLastPathComponent().path }

    func read() throws(Failure) -> Profiles {
        guard FileManager.default.fileExists(atPath: path) else { return Profiles() }
        guard let data = FileManager.default.contents(atPath: path) else { throw Failure("cannot read \(path)") }
        do {
            return try JSONDecoder().decode(Profiles.self, from: data)
        } catch {
            throw Failure("\(path) is not what 'roost login' writes; correct it or move it away")
        }
    }

    /// Takes turns with commands that run at the same time: a refresh token that is used twice ends the session.
    func locked<Result>(_ body: (ProfileFile) async throws -> Result) async throws -> Result {
        try makeFolder()
        let lock = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else { throw Failure("cannot open \(path).lock: \(Self.reason)") }
        defer { close(lock) }
        var turns = 0
        // Asked again and again rather than waited for: a thread of the cooperative pool must not be held.
        while flock(lock, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR, turns < 600 else {
                throw Failure("cannot lock \(path): \(Self.reason)")
            }
            turns += 1
            try await Task.sleep(for: .milliseconds(50))
        }
        return try await body(self)
    }

    /// Replaces the file as a whole, so that a crash leaves the old or the new. The caller holds the lock.
    func write(_ profiles: Profiles) throws {
        try makeFolder()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let partial = path + ".partial"
        unlink(partial)
        let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Failure("cannot write \(partial): \(Self.reason)") }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try handle.write(contentsOf: try encoder.encode(profiles))
        try handle.synchronize()
        try handle.close()
        guard rename(partial, path) == 0 else { throw Failure("cannot write \(path): \(Self.reason)") }
    }

    private func makeFolder() throws {
        do {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw Failure("cannot make the folder \(folder)")
        }
    }

    private static var reason: String { String(cString: strerror(errno)) }
}
