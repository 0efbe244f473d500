import Foundation
import Testing

@testable import ManagerCommand

@Suite("roost command")
struct HostListTests {
    @Test("expands ranges, lists and files (HLT-04, HLT-06)")
    func expansion() throws {
        #expect(try HostList.expand("cn[43-45,47]") == ["cn43", "cn44", "cn45", "cn47"])
        #expect(
            try HostList.expand("a,cn[08-10].internal,a") == ["a", "cn08.internal", "cn09.internal", "cn10.internal"])
        let file = { (_: String) in "# all of rack 1\ncn[1-2]\n\nlogin # the door\n" }
        #expect(try HostList.expand("@list", readFile: file) == ["cn1", "cn2", "login"])
    }

    @Test(
        "refuses what it cannot read",
        arguments: ["", "cn[1-", "cn[3-1]", "cn[a-b]", "cn[1-100000]", "cn]1[", "@/nowhere"])
    func refusals(text: String) {
        #expect(throws: Failure.self) { _ = try HostList.expand(text) }
    }

    @Test("cuts tables to the terminal and quotes CSV")
    func tables() throws {
        let rows = [try JSON(bytes: Array(#"{"name":"a,b","reason":"\#(String(repeating: "x", count: 100))"}"#.utf8))]
        let columns = [Column("name"), Column("reason")]
        let table = TableWriter.table(columns, rows, width: 40)
        #expect(table.split(separator: "\n").allSatisfy { $0.count <= 40 })
        #expect(table.contains("…"))
        #expect(TableWriter.csv(columns, rows).hasPrefix("name,reason\n\"a,b\","))
    }

    @Test("shows no control characters of others")
    func controls() throws {
        #expect(JSON.string("a\u{1B}[2Jb\n").shown == "a [2Jb ")
    }

    @Test("keeps tokens where nobody else reads them")
    func profile() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/roost-profile-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let file = ProfileFile(path: folder + "/config.json")
        let profile = Profile(endpoint: "https://h", authorityPath: nil, accessToken: "t", refreshToken: nil)
        try file.update { $0["default"] = profile }
        #expect(file.read()["default"] == profile)
        let mode = try FileManager.default.attributesOfItem(atPath: file.path)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600)
    }
}
