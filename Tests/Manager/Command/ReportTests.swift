import Testing

@testable import ManagerCommand

@Suite("Reports on several hosts")
struct ReportTests {
    static func operation(_ hosts: [JSON]) -> JSON { ["result": ["hosts": .array(hosts)]] }

    static func host(
        _ node: String, _ state: String, from source: String, reason: String = "", progress: Int = 100
    ) -> JSON {
        [
            "node": .string(node), "state": .string(state), "progress": .whole(progress), "source": .string(source),
            "bytes": .whole(1_200_000_000), "seconds": .number("12.34"), "reason": .string(reason),
        ]
    }

    @Test("a prefill tells each host once, and sums up (HLT-36, HLT-39)")
    func prefill() {
        var report = PrefillReport(image: ["size_bytes": .whole(5 << 30)], palette: Palette(isOn: false))
        let first = Self.operation([
            Self.host("cn44", "held", from: "manager"), Self.host("cn45", "fetching", from: "cn44", progress: 40),
        ])
        #expect(report.newLines(first) == ["[ ok ] manager --> cn44  1.12 GiB  12.3s"])
        let second = Self.operation([
            Self.host("cn44", "held", from: "manager"), Self.host("cn45", "failed", from: "cn44", reason: "disk full"),
        ])
        #expect(report.newLines(second) == ["[FAIL] cn44 --> cn45: disk full"])
        #expect(
            report.summary(second, after: .milliseconds(12_340)) == [
                "file size: 5.00 GiB", "elapsed time: 12.34s", "1 of 2 hosts holds the image.",
            ])
        #expect(
            PrefillReport.live(first) == [
                "1 of 2 hosts hold the image", "cn45  [=========>              ]  40 %  fetching from cn44",
                "cn44  [========================] 100 %  held from manager",
            ])
    }

    @Test("waiting for a drain names nodes, guests and the time left (HLT-19)")
    func waiting() {
        let operation = Self.operation([
            ["node": .string("cn47"), "remaining": .texts(["a", "b"])],
            ["node": .string("cn48"), "remaining": .array([])],
        ])
        #expect(
            NodeReport.waiting(operation, timeout: 300, left: 250)
                == "Waiting max 300 s for instances to stop on cn47: 2 running (250 s left)")
    }

    @Test("the status table is the one that operators know (HLT-09)")
    func status() {
        let rows: [JSON] = [
            [
                "name": .string("cn43.internal"), "enabled": .flag(true), "alive": .string("alive"),
                "instances": .whole(2),
                "addresses": .texts(["10.162.208.10", "10.162.208.57"]),
            ],
            [
                "name": .string("cn44.internal"), "enabled": .flag(false), "alive": .string("down"),
                "instances": .whole(0),
                "addresses": .array([]),
            ],
        ]
        #expect(
            TableWriter(columns: NodeCommand.Status.columns).table(rows) == """
                Hypervisor     Runs VMs?  Alive?  #VMs  VMs
                cn43.internal  yes        alive      2  10.162.208.10 10.162.208.57
                cn44.internal  no         dead       0  -
                """)
    }

    @Test("a join token comes with the line to copy")
    func token() {
        let token: JSON = [
            "token": .string("rjt_1"), "manager_address": .string("m:7401"), "ca_fingerprint": .string("sha256:ab"),
        ]
        #expect(
            NodeCommand.Token.Create.join(token, name: "cn43")
                == "roost-agent join --manager m:7401 --token rjt_1 --ca-fingerprint sha256:ab --name cn43")
    }

    @Test("image properties are merged, since the API replaces them")
    func properties() {
        let merged = ImageCommand.Update.merged(
            ["os": .string("debian"), "active": .string("true")], ["active": .string("false"), "new": .string("1")],
            unset: ["os"])
        #expect(merged == ["active": .string("false"), "new": .string("1")])
    }

    @Test("key=value options", arguments: ["x", "=x", ""])
    func options(wrong: String) throws {
        #expect(try KeyValueOptions.object([]) == nil)
        #expect(try KeyValueOptions.object(["a=b=c", "d="]) == ["a": .string("b=c"), "d": .string("")])
        #expect(throws: Failure.self) { _ = try KeyValueOptions.object([wrong]) }
    }
}
