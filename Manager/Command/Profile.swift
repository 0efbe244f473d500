import Foundation

/// What `roost login` has kept of one site.
struct Profile: Codable, Equatable {
    var endpoint: String
    var authorityPath: String?
    var accessToken: String
    var refreshToken: String?
}

/// The file of profiles, which nobody else may read.
struct ProfileFile {
    let path: String

    init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        let folder = environment["XDG_CONFIG_HOME"] ?? (environment["HOME"] ?? "") + "/.config"
        path = folder + "/roost/config.json"
    }

    init(path: String) { self.path = path }

    func read() -> [String: Profile] {
        guard let data = FileManager.default.contents(atPath: path) else { return [:] }
        return (try? JSONDecoder().decode([String: Profile].self, from: data)) ?? [:]
    }

    /// Changes the file under a lock, so that commands that run at once do not undo each other.
    func update(_ change: (inout [String: Profile]) -> Void) throws {
        let folder = (path as NSString).deletingLastPathComponent
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let lock = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard lock >= 0, flock(lock, LOCK_EX) == 0 else { throw Failure("cannot lock \(path)") }
        defer { close(lock) }
        var profiles = read()
        change(&profiles)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let partial = path + ".partial"
        unlink(partial)
        let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Failure("cannot write \(path)") }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try handle.write(contentsOf: try encoder.encode(profiles))
        guard rename(partial, path) == 0 else { throw Failure("cannot write \(path)") }
    }
}
