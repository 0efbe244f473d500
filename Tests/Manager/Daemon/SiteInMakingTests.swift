import Foundation
import Testing

@testable import ManagerDaemon

@Suite("A data folder in the making")
struct SiteInMakingTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.path + "/roost-making-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    private func contents(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    }

    @Test("a folder that a disk is mounted on stays what it is, and gets the files")
    func inPlace() throws {
        try withFolder { folder in
            try FileManager.default.createDirectory(atPath: folder + "/lost+found", withIntermediateDirectories: false)
            let before = try FileManager.default.attributesOfItem(atPath: folder)[.systemFileNumber] as? Int
            let making = try SiteInMaking(folder)
            for name in ["ca.pem", "a", "b"] {
                try Data().write(to: URL(fileURLWithPath: making.site.folder + "/" + name))
            }
            #expect(try contents(folder) == [".making", "lost+found"])
            try making.publish()
            #expect(try contents(folder) == ["a", "b", "ca.pem", "lost+found"])
            let attributes = try FileManager.default.attributesOfItem(atPath: folder)
            #expect(attributes[.systemFileNumber] as? Int == before)
            #expect(attributes[.posixPermissions] as? Int == 0o700)
        }
    }

    @Test("what one that was ended in the middle left is thrown away; what somebody else put there is not")
    func leftovers() throws {
        try withFolder { folder in
            let first = try SiteInMaking(folder)
            try Data().write(to: URL(fileURLWithPath: first.site.folder + "/half"))
            let second = try SiteInMaking(folder)
            #expect(try contents(second.site.folder) == [])
            second.abandon()
            #expect(try contents(folder) == [])
            try Data().write(to: URL(fileURLWithPath: folder + "/photographs"))
            #expect(throws: SiteError.self) { try SiteInMaking(folder) }
            #expect(try contents(folder) == ["photographs"])
        }
    }
}
