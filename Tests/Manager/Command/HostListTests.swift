import Testing

@testable import ManagerCommand

@Suite("Host lists (HLT-04 to HLT-07)")
struct HostListTests {
    @Test(
        "expand ranges and lists in their order, each host once",
        arguments: [
            ("cn[43-45,47]", ["cn43", "cn44", "cn45", "cn47"]),
            ("cn43", ["cn43"]),
            ("a, b ,a", ["a", "b"]),
            ("cn[01-03]", ["cn01", "cn02", "cn03"]),
            ("cn[8-11]", ["cn8", "cn9", "cn10", "cn11"]),
            ("cn[098-101]", ["cn098", "cn099", "cn100", "cn101"]),
            ("a,cn[08-10].internal,a", ["a", "cn08.internal", "cn09.internal", "cn10.internal"]),
            ("r[1-2]n[1,3]-ib", ["r1n1-ib", "r1n3-ib", "r2n1-ib", "r2n3-ib"]),
            ("x[5],y", ["x5", "y"]),
        ])
    func expansion(list: String, hosts: [String]) throws {
        #expect(try HostList.expand(list) == hosts)
    }

    @Test("read files, with comments, empty lines and ranges")
    func files() throws {
        let read = { (path: String) throws(Failure) -> String in
            path == "rack" ? "# all of rack 1\ncn[1-2],cn9\n\n  login # the door\r\n#cn7\n" : "gpu1\n"
        }
        #expect(try HostList.expand("@rack,x,@more", readFile: read) == ["cn1", "cn2", "cn9", "login", "x", "gpu1"])
    }

    @Test(
        "refuse what they cannot read, as wrong usage",
        arguments: [
            "", " , ", "cn[1-", "cn]1[", "cn[3-1]", "cn[a-b]", "cn[]", "cn[1,]", "cn[1-2-3]", "cn[[1]]", "cn*",
            "cn[1 2]",
            "@/nowhere", "c\u{1B}[2J", "cn[１-２]", "cn[-1]",
        ])
    func refusals(list: String) {
        let failure = #expect(throws: Failure.self) { _ = try HostList.expand(list) }
        #expect(failure?.exitStatus == 2)
    }

    @Test("refuse a file that names files")
    func nested() {
        let read = { (_: String) throws(Failure) -> String in "@rack\n" }
        #expect(throws: Failure.self) { _ = try HostList.expand("@rack", readFile: read) }
    }

    @Test(
        "stop at ten thousand hosts before they are made",
        arguments: ["cn[1-10001]", "cn[1-999999999]", "a[1-999]b[1-999]c[1-999]d[1-999]", "cn[1-6000],dn[1-6000]"])
    func bound(list: String) throws {
        let failure = #expect(throws: Failure.self) { _ = try HostList.expand(list) }
        #expect(failure?.sentence == "the host list names more than 10000 hosts")
    }

    @Test("hold ten thousand")
    func full() throws {
        #expect(try HostList.expand("cn[1-10000]").count == 10_000)
    }

    static let nodes = [
        (id: "0190-a", name: "cn43.internal"), (id: "0190-b", name: "cn44.internal"),
        (id: "0190-c", name: "cn44.outside"),
        (id: "0190-d", name: "login"),
    ]

    @Test("mean nodes by full name, ID, or a short name that only one has")
    func resolution() {
        let resolved = HostResolution(["cn43", "0190-c", "login", "CN43.internal"], among: Self.nodes)
        #expect(resolved.nodes == ["cn43.internal", "cn44.outside", "login"])
        #expect(resolved.unknown.isEmpty)
    }

    @Test("say which names mean none or several, and go on")
    func unresolved() {
        let resolved = HostResolution(["cn44", "cn9", "login"], among: Self.nodes)
        #expect(resolved.nodes == ["login"])
        #expect(
            resolved.unknown.map(\.line) == [
                "cn44: could be any of cn44.internal, cn44.outside", "cn9: there is no such node",
            ])
    }
}
