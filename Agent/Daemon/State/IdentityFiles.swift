import AgentDurability
import AgentManagers
import AgentUplink
import Foundation
import ProtocolTrust

/// Who this node is: its key, its certificate, the site's authority, and where the manager is.
struct IdentityFiles: Sendable {
    enum Problem: Error, Equatable, CustomStringConvertible {
        case notJoined(folder: String)
        case unusable(folder: String, reason: String)
        case files(FileProblem)

        var description: String {
            switch self {
            case .notJoined(let folder):
                "this host has not joined a site yet (\(folder) holds no certificate); get a token with "
                    + "'roost node token create' and run 'roost-agent join'"
            case .unusable(let folder, let reason): "the identity in \(folder) cannot be used: \(reason)"
            case .files(let problem): problem.description
            }
        }
    }

    private static let limit = 1 << 20
    let folder: String
    private let files: any FileSystem

    init(data: String, files: any FileSystem = HostFileSystem()) {
        folder = data + "/identity"
        self.files = files
    }

    /// Where the certificate and the key lie, for those who read files themselves.
    var certificatePath: String { folder + "/node.crt" }
    var keyPath: String { folder + "/node.key" }
    private var authorityPath: String { folder + "/authority.crt" }
    private var managerPath: String { folder + "/manager" }
    private var managersPath: String { folder + "/managers" }
    /// A renewed pair that is being put in place.
    private var pairPath: String { folder + "/renewed.pem" }

    func hasJoined() throws(Problem) -> Bool {
        do { return try files.read(authorityPath, limit: Self.limit) != nil } catch { throw .files(error) }
    }

    /// Keeps a new identity. The authority comes last: with it the node has joined.
    func save(_ identity: EnrolledIdentity, manager: ManagerAddress) throws(Problem) {
        do {
            try files.makeFolder(folder, mode: 0o700)
            try files.replace(managerPath, with: Array("\(manager)\n".utf8), mode: 0o600)
            try savePair(identity)
            try files.replace(authorityPath, with: Array(identity.authorityPEM.utf8), mode: 0o600)
        } catch { throw .files(error) }
    }

    /// Replaces key and certificate by renewed ones.
    func renew(_ identity: EnrolledIdentity) throws(Problem) {
        do { try savePair(identity) } catch { throw .files(error) }
    }

    /// Key and certificate are two files, so both are in one first: after a crash between the two, `load` finishes.
    private func savePair(_ identity: EnrolledIdentity) throws(FileProblem) {
        let pair = identity.keyPEM + identity.certificatePEM
        try files.replace(pairPath, with: Array(pair.utf8), mode: 0o600)
        try putPair(identity.keyPEM, identity.certificatePEM)
    }

    private func putPair(_ key: String, _ certificate: String) throws(FileProblem) {
        try files.replace(keyPath, with: Array(key.utf8), mode: 0o600)
        try files.replace(certificatePath, with: Array(certificate.utf8), mode: 0o600)
        try files.remove(pairPath)
    }

    func load() throws(Problem) -> EnrolledIdentity {
        guard let authority = try text(authorityPath) else { throw .notJoined(folder: folder) }
        if let pair = try text(pairPath), let split = pair.range(of: "-----BEGIN CERTIFICATE") {
            do {
                try putPair(String(pair[..<split.lowerBound]), String(pair[split.lowerBound...]))
            } catch { throw .files(error) }
        }
        guard let key = try text(keyPath), let certificate = try text(certificatePath) else {
            throw .notJoined(folder: folder)
        }
        do {
            return try EnrolledIdentity(keyPEM: key, certificatePEM: certificate, authorityPEM: authority)
        } catch {
            throw .unusable(folder: folder, reason: error.description)
        }
    }

    /// Where the node joined.
    func manager() throws(Problem) -> ManagerAddress? {
        try text(managerPath).flatMap { ManagerAddress($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    /// Keeps what a manager said of all managers.
    func save(managers: [ManagerAddress]) throws(Problem) {
        let text = managers.map { "\($0)\n" }.joined()
        do { try files.replace(managersPath, with: Array(text.utf8), mode: 0o600) } catch { throw .files(error) }
    }

    /// What a manager said last; lines that name none are passed over.
    func managers() throws(Problem) -> [ManagerAddress] {
        (try text(managersPath) ?? "").split(separator: "\n").compactMap { ManagerAddress(String($0)) }
    }

    private func text(_ path: String) throws(Problem) -> String? {
        do {
            return try files.read(path, limit: Self.limit).map { String(decoding: $0, as: UTF8.self) }
        } catch { throw .files(error) }
    }
}
