import Crypto
import Foundation
import Glibc
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolTrust

/// Why a site could not be made or opened; says what to do.
enum SiteError: Error, CustomStringConvertible {
    case exists(String)
    case recordExists(String)
    case absent(String)
    case inUse(String)
    case files(String)

    var description: String {
        switch self {
        case .exists(let path):
            "there is a site in \(path) already; 'init' makes a new one only in an empty folder, since it would replace the "
                + "authority that every node trusts. To start it: roost-manager run"
        case .recordExists(let location):
            "\(location) holds the record of a site already; for a further manager of that site give --from and a folder "
                + "with the site's files, or name an empty database"
        case .absent(let path):
            "there is no site in \(path); run 'roost-manager init' with the same --config and --data first"
        case .inUse(let path): "another roost-manager runs on \(path); stop it first"
        case .files(let message): message
        }
    }
}

/// The files of a site: authority, keys, secrets and the record.
struct Site {
    let folder: String

    var storePath: String { folder + "/roost.sqlite" }
    var authorityPath: String { folder + "/ca.pem" }
    var authorityKeyPath: String { folder + "/ca-key.pem" }
    var managerKeyPath: String { folder + "/manager-key.pem" }
    var passwordPath: String { folder + "/admin-password" }
    var secretPath: String { folder + "/request-secret" }
    var imagesPath: String { folder + "/images" }
    private var identifierPath: String { folder + "/manager-id" }

    /// Makes a site in an empty or absent folder: all of it or nothing.
    ///
    /// - Returns: the password of the superuser `admin`, which is kept in a 0600 file, too.
    /// - Parameter location: the database for the record; `nil` for an SQLite file in the folder.
    static func create(in folder: String, record location: StoreLocation?, now: Timestamp) async throws -> String {
        let site = Site(folder: folder)
        if FileManager.default.fileExists(atPath: site.authorityPath)
            || FileManager.default.fileExists(atPath: site.storePath)
        {
            throw SiteError.exists(folder)
        }
        let making = try SiteInMaking(folder)
        do {
            let password = try await making.site.fill(record: location, now: now)
            try making.publish()
            return password
        } catch {
            making.abandon()
            throw error is SiteError || error is StoreError
                ? error : SiteError.files("cannot make a site in \(folder): \(error)")
        }
    }

    /// Makes a further manager of a site: with the site's authority and secrets, which are copied from another's folder, and a
    /// key and a name of its own.
    static func join(in folder: String, from other: String, now: Timestamp) throws {
        let source = Site(folder: other)
        let making = try SiteInMaking(folder)
        do {
            let site = making.site
            try site.write(source.text(source.authorityPath), to: site.authorityPath, mode: 0o644)
            try site.write(source.text(source.authorityKeyPath), to: site.authorityKeyPath)
            try site.write(source.text(source.secretPath), to: site.secretPath)
            let token = "/" + TokenKey.fileName
            try site.write(source.text(other + token), to: site.folder + token)
            try site.write(NodeKey().pem, to: site.managerKeyPath)
            _ = try site.identifier(at: now)
            // All of it can be read, and belongs together.
            _ = try site.open(names: [], now: now)
            try making.publish()
        } catch {
            making.abandon()
            throw error is SiteError ? error : SiteError.files("cannot make a manager in \(folder): \(error)")
        }
    }

    private func fill(record location: StoreLocation?, now: Timestamp) async throws -> String {
        let authority = try SiteAuthority.create(site: .generate(at: now), at: now)
        try write(authority.certificatePEM, to: authorityPath, mode: 0o644)
        try write(authority.keyPEM, to: authorityKeyPath)
        try write(NodeKey().pem, to: managerKeyPath)
        try write(Self.random(bytes: 32), to: secretPath)
        _ = try TokenKey.create(inFolder: folder)
        let password = Self.random(bytes: 12)
        try write(password + "\n", to: passwordPath)
        let hasher = PasswordHasher()
        let hash = try await hasher.hash(password, userName: "admin")
        let store = try Store(location ?? .file(storePath))
        defer { store.close() }
        try await store.write { sql in
            guard try sql.users.list(.everything, Page(limit: 1)).isEmpty else {
                throw SiteError.recordExists("\(store.location)")
            }
            _ = try UserService().create(
                .init(name: "admin", role: .superuser, email: nil, passwordHash: hash), by: .console, at: now, in: sql)
        }
        await hasher.close()
        return password
    }

    /// What a running manager needs of the files.
    struct Keys {
        var authority: SiteAuthority
        var managerKeyPEM: String
        var certificate: IssuedCertificate
        var requestSecret: [UInt8]
        var tokenKey: TokenKey
    }

    /// Reads the keys and signs the manager's certificate for its present names.
    func open(names: [String], now: Timestamp) throws -> Keys {
        guard FileManager.default.fileExists(atPath: authorityPath) else { throw SiteError.absent(folder) }
        do {
            let authority = try SiteAuthority(
                keyPEM: try text(authorityKeyPath), certificatePEM: try text(authorityPath))
            let key = try NodeKey(pem: try text(managerKeyPath))
            var all = ["localhost", "127.0.0.1", "::1", ProcessInfo.processInfo.hostName] + names
            all = all.reduce(into: []) { if !$0.contains($1) && !$1.isEmpty { $0.append($1) } }
            let isAddress = { (name: String) in name.contains(":") || name.allSatisfy { $0.isNumber || $0 == "." } }
            let certificate = try authority.signManager(
                key: key, dnsNames: all.filter { !isAddress($0) }, addresses: all.filter(isAddress), at: now)
            return Keys(
                authority: authority, managerKeyPEM: key.pem, certificate: certificate,
                requestSecret: try requestSecret(), tokenKey: try TokenKey.load(fromFolder: folder))
        } catch let error as SiteError {
            throw error
        } catch {
            throw SiteError.files("the site in \(folder) cannot be opened: \(error)")
        }
    }

    /// The secret that all managers of the site share.
    func requestSecret() throws -> [UInt8] {
        guard FileManager.default.fileExists(atPath: authorityPath) else { throw SiteError.absent(folder) }
        return Array(try text(secretPath).utf8)
    }

    /// Which of the site's managers this folder belongs to; found out at the first call.
    func identifier(at now: Timestamp) throws -> ManagerID {
        if FileManager.default.fileExists(atPath: identifierPath) {
            guard let id = ManagerID(try text(identifierPath).split(whereSeparator: \.isWhitespace).first ?? "") else {
                throw SiteError.files("\(identifierPath) does not hold the ID of a manager")
            }
            return id
        }
        let id = ManagerID.generate(at: now)
        try write("\(id)\n", to: identifierPath)
        return id
    }

    /// Keeps a second manager off this record for as long as the process lives.
    func lock() throws {
        let descriptor = Glibc.open(folder + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw SiteError.files("cannot open \(folder)/lock: \(String(cString: strerror(errno)))")
        }
        // Closed, and so unlocked, by the end of the process alone.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw SiteError.inUse(folder) }
    }

    private func text(_ path: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw SiteError.files("cannot read \(path)")
        }
        return String(decoding: data, as: UTF8.self)
    }

    private func write(_ text: String, to path: String, mode: mode_t = 0o600) throws {
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else {
            throw SiteError.files("cannot write \(path): \(String(cString: strerror(errno)))")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try handle.write(contentsOf: Data(text.utf8))
        try handle.synchronize()
    }

    private static func random(bytes: Int) -> String {
        SymmetricKey(size: .init(bitCount: bytes * 8)).withUnsafeBytes { Array($0).hexadecimal }
    }
}
