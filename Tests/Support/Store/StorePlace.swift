import Foundation
public import ManagerStore

/// A place for a record of a test's own, on either engine, that goes with this object.
public final class StorePlace: Sendable {
    public let location: StoreLocation
    private let folder: String?

    /// `ROOST_TEST_STORE=mariadb` in the environment makes every test that does not say otherwise use that engine.
    public static let engine =
        ProcessInfo.processInfo.environment["ROOST_TEST_STORE"].flatMap(StoreEngine.init) ?? .sqlite

    public init(_ engine: StoreEngine = StorePlace.engine) throws {
        switch engine {
        case .sqlite:
            let folder = NSTemporaryDirectory() + "roost-store-\(UUID().uuidString)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
            self.folder = folder
            location = .file(folder + "/roost.sqlite")
        case .mariadb:
            folder = nil
            let server = try MariaDBServer.shared()
            location = try server.location(of: server.makeDatabase())
        }
    }

    deinit {
        if let folder { try? FileManager.default.removeItem(atPath: folder) }
        if case .mariaDB(let address) = location {
            _ = try? MariaDBServer.shared().administer("DROP DATABASE \(address.database)")
        }
    }
}
