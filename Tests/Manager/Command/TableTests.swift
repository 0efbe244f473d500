import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Tables and CSV")
struct TableTests {
    static let rows: [JSON] = [
        [
            "name": .string("web-1"), "status": .string("ACTIVE"), "vcpus": .whole(2), "hours": .number("1.23456"),
            "addresses": .texts(["192.168.177.12", "192.168.177.13"]), "node": .null,
            "id": .string("0190a4c1-7b1e-7000-8000-000000000001"),
        ],
        [
            "name": .string("grüße, \"日本\""), "status": .string("ERROR"), "vcpus": .whole(16), "hours": .whole(40),
            "addresses": .array([]), "node": .string("cn43.internal"),
            "id": .string("0190a4c1-7b1e-7000-8000-000000000002"),
        ],
    ]
    static let columns = [
        Column("name"), Column("status", colour: Colour.status), Column.number("vcpus"), Column.number("hours"),
        Column("addresses"), Column("node"), Column.id,
    ]

    @Test("golden table, as wide as it likes where nothing limits it")
    func table() {
        #expect(
            TableWriter(columns: Self.columns).table(Self.rows) == """
                NAME           STATUS  VCPUS  HOURS  ADDRESSES                      NODE           ID
                web-1          ACTIVE      2  1.235  192.168.177.12 192.168.177.13  -              0190a4c1-7b1e-7000-8000-000000000001
                grüße, "日本"  ERROR      16     40  -                              cn43.internal  0190a4c1-7b1e-7000-8000-000000000002
                """)
    }

    @Test("golden table on 100 cells: the widest text is cut, IDs and numbers are not")
    func narrow() {
        #expect(
            TableWriter(columns: Self.columns, width: 100).table(Self.rows) == """
                NAME          STATUS  VCPUS  HOURS  ADDRESSES     NODE          ID
                web-1         ACTIVE      2  1.235  192.168.177…  -             0190a4c1-7b1e-7000-8000-000000000001
                grüße, "日…   ERROR      16     40  -             cn43.intern…  0190a4c1-7b1e-7000-8000-000000000002
                """)
    }

    @Test("fits any width that can be fitted", arguments: [200, 120, 100, 80, 70, 62, 40, 24])
    func widths(width: Int) {
        for line in TableWriter(columns: Self.columns, width: width).table(Self.rows).split(separator: "\n") {
            #expect(String(line).terminalWidth <= width)
        }
    }

    @Test("golden CSV: keys, raw values, quotes")
    func csv() {
        #expect(
            TableWriter(columns: Self.columns).csv(Self.rows) == """
                name,status,vcpus,hours,addresses,node,id
                web-1,ACTIVE,2,1.23456,192.168.177.12 192.168.177.13,,0190a4c1-7b1e-7000-8000-000000000001
                "grüße, ""日本""\",ERROR,16,40,,cn43.internal,0190a4c1-7b1e-7000-8000-000000000002
                """)
        #expect(TableWriter(columns: [Column("a")], headers: false).csv([["a": .string("x\r\ny")]]) == "\"x\r\ny\"")
    }

    @Test("a terminal that is too narrow for columns gets a line for each cell")
    func records() {
        let columns = [Column("name"), Column("status", colour: Colour.status), Column("owner"), Column("id")]
        let row: JSON = [
            "name": .string("a-rather-long-name"), "status": .string("ACTIVE"), "owner": .string("ann"),
            "id": .string("0123456789"),
        ]
        let writer = TableWriter(columns: columns, width: 20, colours: Palette(isOn: true))
        #expect(
            writer.table([row, row]).split(separator: "\n", omittingEmptySubsequences: false).prefix(6) == [
                "NAME    a-rather-lo…", "STATUS  \u{1B}[32mACTIVE\u{1B}[0m", "OWNER   ann", "ID      0123456789", "",
                "NAME    a-rather-lo…",
            ])
    }

    @Test("colours change no width, and come only where they are on")
    func colours() {
        let columns = [Column("status", colour: Colour.status), Column("name")]
        let plain = TableWriter(columns: columns, headers: false).table(Self.rows)
        let painted = TableWriter(columns: columns, headers: false, colours: Palette(isOn: true)).table(Self.rows)
        #expect(plain == "ACTIVE  web-1\nERROR   grüße, \"日本\"")
        #expect(painted == "\u{1B}[32mACTIVE\u{1B}[0m  web-1\n\u{1B}[31mERROR \u{1B}[0m  grüße, \"日本\"")
    }

    @Test("show no control characters of others")
    func controls() {
        #expect(Cell.shown(.string("a\u{1B}[2Jb\n\u{9B}31m")) == "a\u{FFFD}[2Jb \u{FFFD}31m")
        #expect(Cell.shown(["k\u{7}": .string("\u{202E}v")]) == "k\u{FFFD}=\u{FFFD}v")
        #expect(Failure("no\u{1B}]0;x\u{7}pe").lines == ["error: no\u{FFFD}]0;x\u{FFFD}pe"])
    }

    @Test("CSV on a terminal shows none either; elsewhere it is as it is")
    func controlsInCSV() {
        let row: JSON = ["a\u{7}": .string("x\u{1B}]0;t\u{7}\u{9B}2J")]
        var printer = Self.printer(.csv)
        #expect(printer.shown(row) == "a\u{7}\nx\u{1B}]0;t\u{7}\u{9B}2J")
        printer.terminal.outputIsTerminal = true
        #expect(printer.shown(row) == "a\u{FFFD}\nx\u{FFFD}]0;t\u{FFFD}\u{FFFD}2J")
        #expect(printer.listed(.list([row]), [Column("a\u{7}")]) == "a\u{FFFD}\nx\u{FFFD}]0;t\u{FFFD}\u{FFFD}2J")
        let event: JSON = ["detail": .string("\u{1B}[2J")]
        #expect(!EventCommand.line(event, printer).unicodeScalars.contains("\u{1B}"))
    }

    @Test("amounts that nobody has are shown, not trapped at", arguments: ["1e999", "-1e999", "-5", "1e30"])
    func absurd(digits: String) {
        #expect(Cell.bytes(.number(digits)) == "-")
        #expect(Amount.seconds(Double(digits) ?? 0) == "-")
    }

    @Test("amounts read well")
    func amounts() {
        #expect(Cell.bytes(.whole(1023)) == "1023 B")
        #expect(Cell.bytes(.whole(1_200_000_000)) == "1.12 GiB")
        #expect(Cell.bytes(.null) == "-")
        #expect([5.0, 185, 7800].map(Amount.seconds) == ["5s", "3m05s", "2h10m"])
        #expect(Amount.bar(0.5, cells: 8) == "[====>   ]")
        #expect(Amount.bar(7, cells: 4) == "[====]")
    }

    static func printer(_ format: OutputFormat) -> Printer {
        Printer(
            format: format,
            terminal: Terminal(outputIsTerminal: false, errorIsTerminal: false, width: nil, allowsColours: true))
    }

    @Test("one resource: a line each, JSON in the API's order")
    func resource() {
        let image: JSON = [
            "name": .string("debian"), "size_bytes": .whole(12),
            "nodes": .array([
                ["node": .string("cn1"), "state": .string("held")],
                ["node": .string("cn2"), "state": .string("failed")],
            ]),
        ]
        #expect(
            Self.printer(.table).shown(image) == """
                name        debian
                size_bytes  12
                nodes       node=cn1 state=held
                            node=cn2 state=failed
                """)
        #expect(Self.printer(.json).shown(image).hasPrefix("{\n  \"name\": \"debian\",\n  \"size_bytes\": 12,\n"))
        #expect(
            Self.printer(.csv).shown(image)
                == "name,size_bytes,nodes\ndebian,12,node=cn1 state=held node=cn2 state=failed")
    }

    @Test("the usage table ends with totals, the CSV does not")
    func usage() {
        let report: JSON = [
            "from": .string("2026-11-01"), "to": .string("2026-11-21"),
            "items": .array([
                ["user": .string("ann"), "server_hours": .whole(1)],
                ["user": .string("bob"), "server_hours": .whole(2)],
            ]),
            "totals": ["server_hours": .whole(3)],
        ]
        #expect(UsageCommand.rows(report, .user, .table)["items"].items.last?["user"].text == "total")
        #expect(UsageCommand.rows(report, .user, .csv) == report)
        #expect(UsageCommand.rows(report, .user, .json) == report)
    }
}
