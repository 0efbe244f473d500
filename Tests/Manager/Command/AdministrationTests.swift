import ArgumentParser
import Foundation
import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Commands about people, keys, limits and the audit")
struct AdministrationTests {
    private func json(_ text: String) throws -> JSON { try JSONReader.read(Array(text.utf8)) }

    @Test("limits are shown with what is used and who set them, flavors behind resources")
    func quota() throws {
        let quota = try json(
            """
            {"kind":"user","name":"ann","limits":{"instances":5,"vcpus":null},"flavor_caps":{"big":1},
             "effective_limits":{"instances":5,"vcpus":16,"gpus":null},"effective_flavor_caps":{"big":1,"huge":0},
             "used":{"instances":2,"vcpus":4},"used_flavors":{"big":1,"small":1}}
            """)
        let table = TableTests.printer(.csv).listed(.list(QuotaCommand.rows(quota)), QuotaCommand.columns)
        let lines = table.split(separator: "\n")
        #expect(lines[0] == "resource,used,limit,set_by")
        #expect(lines[1] == "instances,2,5,user" && lines[2] == "vcpus,4,16,every" && lines[5] == "gpus,0,,")
        #expect(lines.suffix(3) == ["flavor big,1,1,user", "flavor huge,0,0,every", "flavor small,1,,"])
        #expect(QuotaCommand.share(quota, "instances") == "2/5" && QuotaCommand.share(quota, "gpus") == "0")
    }

    @Test("a limit is a number or none", arguments: [("0", 0), ("12", 12), ("none", -1)])
    func limit(text: String, value: Int) {
        #expect(QuotaCommand.Limit(argument: text)?.value.integer == value)
        for wrong in ["-1", "1.5", "", "many"] { #expect(QuotaCommand.Limit(argument: wrong) == nil) }
    }

    @Test("whose limits are changed is said, and only one's")
    func subjects() async {
        for wrong in [
            ["quota", "set", "--vcpus", "1"], ["quota", "set", "--user", "a", "--account", "b", "--vcpus", "1"],
            ["quota", "set", "--user", "a"], ["quota", "unset", "--user", "a", "bananas"],
            ["quota", "set", "--every", "people", "--vcpus", "1"], ["quota", "set", "--user", "a", "--flavor", "x=y"],
        ] {
            #expect(await Roost.perform(wrong) == 2, "\(wrong)")
        }
    }

    @Test("permissions of a role are changed among those that it has, which the API takes anew")
    func role() throws {
        let present = try json(#"{"instanceRead":"own","imageRead":"all"}"#)
        let changed = try RoleCommand.Change.changed(
            present, try json(#"{"instanceRead":"account","nodeRead":"all"}"#), ["imageRead"], of: "x")
        #expect(changed == (try json(#"{"instanceRead":"account","nodeRead":"all"}"#)))
        #expect(throws: Failure.self) { try RoleCommand.Change.changed(present, [:], ["nodeRead"], of: "x") }
    }

    @Test("times are spans, days, or times with a zone, and lie ahead")
    func moments() throws {
        let now = try Date("2026-11-29T01:02:03Z", strategy: .iso8601)
        #expect(try Moment.parse("90d", now: now) == "2027-02-27T01:02:03Z")
        #expect(try Moment.parse("12h", now: now) == "2026-11-29T13:02:03Z")
        #expect(try Moment.parse("2027-01-31", now: now) == "2027-01-31T00:00:00Z")
        #expect(try Moment.parse("2027-01-31T12:00:00+02:00", now: now) == "2027-01-31T10:00:00Z")
        for wrong in ["", "d", "0d", "-3d", "soon", "2027-13-01", "2026-11-28"] {
            #expect(throws: Failure.self, "\(wrong)") { try Moment.parse(wrong, now: now) }
        }
    }

    @Test("a secret's file is new, private, and gone where there is no secret")
    func secretFile() throws {
        let folder = ScratchFolder()
        try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
        let path = folder.path + "/secret"
        try SecretFile(path).write("s\n")
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "s\n")
        #expect(throws: Failure.self) { _ = try SecretFile(path) }
        try SecretFile(path + "2").discard()
        #expect(!FileManager.default.fileExists(atPath: path + "2"))
    }

    @Test("an export is there as a whole or not at all, and overwrites nothing")
    func export() throws {
        let folder = ScratchFolder()
        try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
        let path = folder.path + "/audit.csv"
        let half = try ExportFile(path)
        try half.line("a")
        half.discard()
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
        let whole = try ExportFile(path)
        try whole.line("a")
        try whole.finish()
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "a\n")
        #expect(throws: Failure.self) { _ = try ExportFile(path) }
    }

    @Test("an export takes no file over that another has laid out, nor replaces one that appears meanwhile")
    func exportBesideOthers() throws {
        let folder = ScratchFolder()
        try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
        let path = folder.path + "/audit.csv"
        // Another's, open to all: it must not become the export.
        try Data("x".utf8).write(to: URL(fileURLWithPath: path + ".partial"))
        try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: path + ".partial")
        let reader = try #require(FileHandle(forReadingAtPath: path + ".partial"))
        let export = try ExportFile(path)
        try export.line("secret")
        let attributes = try FileManager.default.attributesOfItem(atPath: path + ".partial")
        #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
        #expect(try reader.readToEnd() == Data("x".utf8))
        try Data("mine".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: Failure.self) { try export.finish() }
        export.discard()
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["audit.csv"])
    }

    @Test("the audit's line says who, from where, with what, and how it ended")
    func audit() throws {
        let event = try json(
            """
            {"sequence":7,"at":"t","kind":"user.changed","actor":"ann","impersonator":"root","address":"192.0.2.1",
             "credential":"key:1","outcome":"refused","resource":{"kind":"user","id":"1","name":"bob"},"detail":"",
             "changes":{"email":{"before":"a","after":"b"}}}
            """)
        #expect(
            TableWriter(columns: AuditCommand.columns, headers: false).csv([event])
                == "7,t,ann,root,192.0.2.1,key:1,refused,user.changed,user bob,,email: a → b")
    }

    @Test("columns are chosen by name, members that are none too; what is unknown is said, with what was meant")
    func columns() throws {
        let answer: JSON = .list([["name": .string("a"), "vcpus": .whole(2), "id": .string("1")]])
        let usual = [Column("name", "NAME OF IT"), Column.id]
        func chosen(_ text: String?) throws -> [String] {
            let words = text.map { ["--columns", $0] } ?? []
            return try ColumnOptions.parse(words).chosen(from: usual, in: answer).map(\.title)
        }
        #expect(try chosen(nil) == ["NAME OF IT", "ID"])
        #expect(try chosen("id,vcpus,name") == ["ID", "VCPUS", "NAME OF IT"])
        #expect(try ColumnOptions.parse(["--fields", "vcpus"]).cut(answer)["items"].items == [["vcpus": .whole(2)]])
        let failure = #expect(throws: Failure.self) { try chosen("nam") }
        #expect(failure?.lines.first?.contains("did you mean 'name'?") == true && failure?.exitStatus == 2)
        #expect(throws: Failure.self) { try chosen(",") }
        // Of an empty list nobody knows what its items would have.
        #expect(try ColumnOptions.parse(["--columns", "x"]).chosen(from: usual, in: .list([])).map(\.key) == ["x"])
    }

    @Test("lists are sorted and filtered by the site; a filter goes before a command's own option")
    func lists() throws {
        let list = try ListOptions.parse([
            "--sort", "-created_at,name", "--filter", "owner=ann", "--filter", "name=a=b",
        ])
        let query = try list.query(["owner": "bob", "status": "ACTIVE", "node": nil])
        #expect(query.sort == ["-created_at", "name"])
        #expect(
            query.parameters.map { "\($0.name)=\($0.value ?? "")" } == [
                "status=ACTIVE", "node=", "owner=ann", "name=a=b",
            ])
        #expect(throws: Failure.self) { try ListOptions.parse(["--filter", "owner"]).query() }
        #expect(try ListOptions.parse([]).query().sort.isEmpty)
    }

    @Test("the audit is asked by all that the API knows")
    func auditSelection() throws {
        let words = [
            "--until", "2026-12-01", "--address", "192.0.2.1", "--credential", "key:1", "--impersonator", "root",
            "--outcome", "refused",
        ]
        let query = try EventCommand.Selection.parse(words).query.compactMap { $0.value }
        #expect(query == ["2026-12-01", "192.0.2.1", "key:1", "root", "refused"])
        #expect(throws: (any Error).self) { try EventCommand.Selection.parse(["--outcome", "both"]) }
    }

    @Test("a change of the whitelist says what; following events has no columns")
    func wrongUsage() async {
        for wrong in [
            ["whitelist", "change", "*@example.org"], ["whitelist", "add"], ["whitelist", "delete"],
            ["event", "list", "--follow", "--columns", "at"], ["flavor", "list", "--filter", "x"],
        ] {
            #expect(await Roost.perform(wrong) == 2, "\(wrong)")
        }
    }

    @Test("profiles are listed without their tokens")
    func profiles() {
        let profiles = Profiles(
            current: "b",
            all: [
                "a": Profile(endpoint: "https://a", accessToken: "secret-1", refreshToken: "secret-2"),
                "b": Profile(endpoint: "https://b", apiKey: .init(id: "k", secret: "secret-3")),
                "c": Profile(endpoint: "https://c"),
            ])
        let text = TableTests.printer(.csv).listed(.list(ProfileCommand.rows(profiles)), ProfileCommand.columns)
        #expect(
            text.split(separator: "\n").map { $0.split(separator: ",")[3] } == ["signed_in", "yes", "api-key", "no"])
        #expect(!text.contains("secret") && text.contains("b,true,https://b"))
        #expect(ProfileCommand.unknown("bb", Profiles(all: ["b1": profiles["a"]!])).sentence.contains("'b1'"))
    }

    @Test("ways to sign in exclude each other")
    func login() async throws {
        for wrong in [
            ["--api-key", "k", "--username", "a"], ["--api-key", "k", "--device"], ["--password-file", "f"],
            ["--username", "a", "--device", "--password-file", "f"],
        ] {
            #expect(await Roost.perform(["login"] + wrong) == 2, "\(wrong)")
        }
        let lines = DeviceLogin.instructions(
            DeviceAuthorization(
                deviceCode: "d", userCode: "AB\u{1B}[2J", verificationAddress: "https://m/d", lifetime: .seconds(600)))
        #expect(lines.count == 3 && lines[1].contains("AB\u{FFFD}[2J") && lines[2] == "within 10m00s.")
    }
}
