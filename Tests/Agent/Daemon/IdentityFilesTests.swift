@testable import AgentDaemon
import AgentDurability
import AgentManagers
import AgentUplink
import Foundation
import Testing
import TestsSupportFiles

@Suite("Who this node is")
struct IdentityFilesTests {
    @Test("what was kept is read back, and the key is nobody else's to read")
    func keep() throws {
        let folder = ScratchFolder()
        let manager = try TestManager()
        let identity = try manager.identity()
        let files = IdentityFiles(data: folder.path)
        #expect(try !files.hasJoined())
        #expect(throws: IdentityFiles.Problem.notJoined(folder: files.folder)) { try files.load() }
        try files.save(identity, manager: ManagerAddress(host: "manager.example.org", port: 7401))
        #expect(try files.hasJoined())
        #expect(try files.load() == identity)
        #expect(try files.manager() == ManagerAddress(host: "manager.example.org", port: 7401))
        for name in ["node.key", "node.crt"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: files.folder + "/" + name)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
        }
        let attributes = try FileManager.default.attributesOfItem(atPath: files.folder)
        #expect(attributes[.posixPermissions] as? Int == 0o700)
    }

    @Test("whichever call of a renewal fails, the old pair or the new one is in use, never half of each")
    func renewal() throws {
        let manager = try TestManager()
        let (old, new) = (try manager.identity(), try manager.identity())
        var failures = 0
        for call in 1...20 {
            let folder = ScratchFolder()
            let faulty = FaultyFileSystem()
            let files = IdentityFiles(data: folder.path, files: faulty)
            try files.save(old, manager: ManagerAddress(host: "m"))
            faulty.fail(at: call)
            let isRenewed = (try? files.renew(new)) != nil
            faulty.fail(at: nil)
            let loaded = try IdentityFiles(data: folder.path).load()
            #expect(loaded == new || (!isRenewed && loaded == old), "failing call \(call)")
            if isRenewed { break }
            failures += 1
        }
        #expect(failures >= 9)
    }
}
