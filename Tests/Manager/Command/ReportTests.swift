import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Reports on several hosts")
struct ReportTests {
    static func operation(_ hosts: [JSON]) -> JSON { ["result": ["hosts": .array(hosts)]] }

    static func host(
        _ node: String, _ state: String, from source: String?, reason: String = "", progress: Int = 100
    ) -> JSON {
        [
            "node": .string(node), "state": .string(state), "progress": .whole(progress),
            "source": source.map { .string($0) } ?? .null, "bytes": .whole(source == nil ? 0 : 1_200_000_000),
            "bytes_per_second": .number("112300000.0"), "seconds": .number("12.34"), "reason": .string(reason),
        ]
    }

    @Test("a prefill tells each host once, and sums up (HLT-36, HLT-39)")
    func prefill() {
        var report = PrefillReport(image: ["size_bytes": .whole(1_145_000_000)], palette: Palette(isOn: false))
        let first = Self.operation([
            Self.host("cn44", "held", from: "manager"), Self.host("cn45", "fetching", from: "cn44", progress: 40),
            Self.host("cn46", "held", from: nil, reason: "it was there already"),
        ])
        #expect(
            report.newLines(first) == ["[ ok ] manager --> cn44  1200MB  12.3s", "[ ok ] cn46  it was there already"])
        let second = Self.operation([
            Self.host("cn44", "held", from: "manager"), Self.host("cn45", "failed", from: "cn44", reason: "disk full"),
            Self.host("cn46", "held", from: nil),
        ])
        #expect(report.newLines(second) == ["[FAIL] cn44 --> cn45: disk full"])
        #expect(
            report.summary(second, after: .milliseconds(10_000)) == [
                "file size: 1145MB", "elapsed time: 10.00s", "throughput: 240.0MB/s, all hosts together",
                "2 of 3 hosts hold the image.",
            ])
    }

    @Test("the live table: hosts under way first, with their sources and rates; why nothing moves")
    func live() {
        let hosts = [
            Self.host("cn44", "held", from: "manager"), Self.host("cn45", "fetching", from: "cn44", progress: 40),
        ]
        #expect(
            PrefillReport.live(Self.operation(hosts)) == [
                "1 of 2 hosts hold the image, 112.3 MB/s together",
                "HOST  FROM                                 %    MB/s  STATE",
                "cn45  cn44     [========>             ]   40   112.3  fetching",
                "cn44  manager  [======================]  100       -  held",
            ])
        let paused = Self.operation(hosts).setting("paused", to: .flag(true)).setting("id", to: .string("o1"))
        #expect(
            PrefillReport.live(paused)[0]
                == "1 of 2 hosts hold the image; paused, go on with 'roost operation resume o1'")
        let waiting = Self.operation([Self.host("cn44", "waiting", from: nil, progress: 0)])
            .setting("steps", to: .array([["detail": .string("the image is converting (40 %)")]]))
        #expect(PrefillReport.live(waiting)[0] == "0 of 1 hosts hold the image; the image is converting (40 %)")
    }

    @Test("a prefill that is left running says how to watch and to end it")
    func goesOn() {
        #expect(
            ImageCommand.Prefill.goesOn("o1")
                == "The prefill goes on as operation o1: watch it with 'roost operation wait o1', end it with "
                + "'roost operation cancel o1'.")
    }

    @Test(
        "rates as people write them",
        arguments: [
            ("100M", 104_857_600), ("1.5GiB", 1_610_612_736), ("200Mbit", 25_000_000), ("200Mbit/s", 25_000_000),
            ("2097152", 2_097_152), ("10MB/s", 10_485_760),
        ])
    func rates(text: String, bytes: Int) throws {
        #expect(try TransferLimitOptions.rate(text) == .whole(bytes))
        #expect(try TransferLimitOptions.rate("none") == .null)
        for wrong in ["", "M", "fast", "-1M", "1X", "1e9", "nan", "0"] {
            #expect(throws: Failure.self, "\(wrong)") { _ = try TransferLimitOptions.rate(wrong) }
        }
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

    @Test("image properties are merged, and null removes one")
    func properties() {
        let merged = ImageChange.merged(
            ["os": .string("debian"), "active": .string("true")], ["active": .string("false"), "new": .string("1")],
            unset: ["os"])
        #expect(merged == ["os": .null, "active": .string("false"), "new": .string("1")])
    }

    @Test("key=value options", arguments: ["x", "=x", ""])
    func options(wrong: String) throws {
        #expect(try KeyValueOptions.object([]) == nil)
        #expect(try KeyValueOptions.object(["a=b=c", "d="]) == ["a": .string("b=c"), "d": .string("")])
        #expect(throws: Failure.self) { _ = try KeyValueOptions.object([wrong]) }
    }
}
