import Foundation
import FoundationXML
import ProtocolModel
import Testing
import TestsSupportHardware
import TestsSupportRandomness

@testable import AgentHypervisor

@Suite("Domain documents")
struct DomainXMLTests {
    static let node = NodeID.generate(at: Timestamp(milliseconds: 1))

    static func document(_ change: (inout DomainSpecification) -> Void = { _ in }) -> String {
        DomainXML.document(specification(change), node: node)
    }

    static func specification(_ change: (inout DomainSpecification) -> Void = { _ in }) -> DomainSpecification {
        var random = SystemRandomNumberGenerator()
        var specification = DomainSpecification(
            instance: .generate(at: Timestamp(milliseconds: 1_800_000_000_000), using: &random), epoch: Epoch(2),
            powerCycle: PowerCycle(5), startedAt: Timestamp(milliseconds: 1_800_000_000_123), title: "web", vcpus: 2,
            memoryBytes: 2 << 30, diskPath: "/data/disk.qcow2", seedPath: "/data/seed.iso",
            consoleLogPath: "/data/console.log", macAddress: "52:54:00:01:02:03", network: "roost", accelerator: .tcg,
            emulator: nil, basePath: "/data/_base/abc")
        change(&specification)
        return specification
    }

    /// Elements in order, with attribute names: what a document is made of, whatever its texts say.
    private final class Shape: NSObject, XMLParserDelegate {
        var elements: [String] = []
        var texts: [String: String] = [:]
        var attributes: [String: [String: String]] = [:]
        private var path: [String] = []

        init?(_ document: String) {
            super.init()
            let parser = XMLParser(data: Data(document.utf8))
            parser.delegate = self
            guard parser.parse() else { return nil }
        }

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes found: [String: String]
        ) {
            path.append(name)
            elements.append(path.joined(separator: "/") + " " + found.keys.sorted().joined(separator: ","))
            attributes[path.joined(separator: "/")] = found
        }

        func parser(_ parser: XMLParser, foundCharacters string: String) {
            texts[path.joined(separator: "/"), default: ""] += string
        }

        func parser(
            _ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?
        ) {
            path.removeLast()
        }
    }

    @Test("no text from outside opens or closes an element (SEC-06)")
    func injection() throws {
        let plain = try #require(Shape(Self.document { $0.hardware.firmware = .uefi })).elements
        var random = SystemRandomNumberGenerator()
        let pieces = [
            "<", ">", "</title>", "<devices>", "\"", "'", "&", "&lt;", "&#60;", "]]>", "<![CDATA[", "<!--", "-->",
            "<?x",
            "\u{0}", "\u{1}", "\n", "\t", "\u{FFFE}", "ä", "😀", "\u{2028}", "a", " ", "/", "=", "{}", "\\",
        ]
        for _ in 0..<2000 {
            func text() -> String {
                (0..<Int.random(in: 0...8, using: &random)).map { _ in
                    pieces[Int.random(in: 0..<pieces.count, using: &random)]
                }.joined()
            }
            let document = Self.document {
                $0.title = text()
                $0.diskPath = "/" + text()
                $0.seedPath = "/" + text()
                $0.basePath = "/" + text()
                $0.consoleLogPath = "/" + text()
                $0.network = text()
                $0.macAddress = text()
                $0.nvramPath = text()
                $0.hardware.firmware = .uefi
                // Refused where it is read, and harmless even if it were not.
                $0.hardware.machine = text()
            }
            let shape = try #require(Shape(document), "\(document)")
            #expect(shape.elements == plain)
        }
    }

    @Test(
        "texts read back as they were written", arguments: ["<a & 'b' \"c\">", "tab\tline\nend", "ä😀", "&amp;", "]]>"])
    func exact(_ text: String) throws {
        let element = Element("root", ["name": text], text: text)
        let shape = try #require(Shape(element.rendered))
        #expect(shape.texts["root"] == text)
        #expect(shape.attributes["root"]?["name"] == text)
    }

    @Test("a raw disk is told as raw, with nothing below it, whatever the guest wrote there (SEC-02)")
    func rawDisk() throws {
        let document = Self.document {
            $0.diskPath = "/data/disk.raw"
            $0.diskFormat = .raw
        }
        let shape = try #require(Shape(document))
        let disk = try #require(document.components(separatedBy: "<disk ").dropFirst().first)
        #expect(disk.contains("type=\"raw\"") && !document.contains("qcow2"))
        #expect(shape.elements.filter { $0.contains("backingStore") } == ["domain/devices/disk/backingStore "])
    }

    @Test("every disk has its format told (SEC-02), and the overlay its whole chain")
    func formats() throws {
        let document = Self.document()
        let disks = document.components(separatedBy: "<disk ").dropFirst()
        #expect(disks.count == 2)
        for disk in disks { #expect(disk.contains("<driver name=\"qemu\" type=\"")) }
        let shape = try #require(Shape(document))
        #expect(shape.attributes["domain/devices/disk/backingStore/format"]?["type"] == "raw")
        #expect(shape.attributes["domain/devices/disk/backingStore/source"]?["file"] == "/data/_base/abc")
        #expect(shape.attributes["domain/devices/disk/backingStore/source/seclabel"]?["relabel"] == "no")
    }

    @Test("the accelerator chooses the kind of domain and of processor", arguments: [("kvm", "kvm"), ("tcg", "qemu")])
    func accelerator(_ name: String, _ kind: String) throws {
        let accelerator = try #require(DomainSpecification.Accelerator(rawValue: name))
        let shape = try #require(Shape(Self.document { $0.accelerator = accelerator }))
        #expect(shape.attributes["domain"]?["type"] == kind)
    }

    @Test("what is recorded in a domain is read back")
    func marks() throws {
        let specification = Self.specification()
        let document = DomainXML.document(specification, node: Self.node)
        let start = try #require(document.range(of: "<roost:instance"))
        let end = try #require(document.range(of: "/>", range: start.upperBound..<document.endIndex))
        let marks = try #require(DomainXML.Marks(String(document[start.lowerBound..<end.upperBound])))
        #expect(marks.instance == specification.instance)
        #expect(marks.node == Self.node)
        #expect(marks.epoch == Epoch(2))
        #expect(marks.powerCycle == PowerCycle(5))
        #expect(marks.startedAt == specification.startedAt)
        #expect(marks.vcpus == 2)
        #expect(marks.memoryBytes == 2 << 30)
        #expect(marks.devices == [])
    }

    @Test(
        "what is not ours has no marks",
        arguments: [
            "", "garbage", "<instance/>", "<instance id='x' epoch='1' power_cycle='1'/>",
            "<instance id='0198c0de-0000-7000-8000-000000000000' epoch='-1' power_cycle='1'/>",
            "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
            "<instance a='" + String(repeating: "a", count: 70_000) + "'/>",
        ])
    func foreign(_ text: String) { #expect(DomainXML.Marks(text) == nil) }

    static func withDevices(_ domain: inout DomainSpecification) {
        domain.devices = ["0000:3b:00.0", "0000:3b:00.1", "10000:01:1f.7"].compactMap { PCIAddress($0) }
        domain.assignedDevices = ["0000:3b:00.0", "10000:01:1f.7"]
        domain.numa = NUMAPlace(node: 1, processors: "8-15,24")
    }

    @Test("devices are passed by address, never bound by libvirt itself, and recorded as they were assigned")
    func devices() throws {
        let document = Self.document(Self.withDevices)
        let shape = try #require(Shape(document))
        #expect(shape.elements.count { $0.hasPrefix("domain/devices/hostdev ") } == 3)
        #expect(shape.attributes["domain/devices/hostdev"]?["managed"] == "no")
        #expect(
            shape.attributes["domain/devices/hostdev/source/address"]
                == ["domain": "0x10000", "bus": "0x01", "slot": "0x1f", "function": "0x7"])
        #expect(shape.attributes["domain/numatune/memory"] == ["mode": "preferred", "nodeset": "1"])
        #expect(shape.attributes["domain/vcpu"]?["cpuset"] == "8-15,24")
        #expect(
            shape.attributes["domain/metadata/roost:instance"]?["devices"] == "0000:3b:00.0 10000:01:1f.7")
        #expect(
            DomainXML.passedDevices(in: document)?.map(\.description) == [
                "0000:3b:00.0", "0000:3b:00.1", "10000:01:1f.7",
            ])
        #expect(DomainXML.passedDevices(in: Self.document()) == [])
    }

    @Test("devices of others' domains are read, cards of networks among them, and what is no PCI device is not")
    func othersDevices() {
        let document = """
            <domain><devices>
            <hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>
            <hostdev mode='subsystem' type='mdev'><source><address uuid='c2177883'/></source></hostdev>
            <hostdev mode='subsystem' type='pci' managed='yes'><driver name='vfio'/>
            <source><address domain='0x0000' bus='0x06' slot='0x12' function='0x5'/></source>
            <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></hostdev>
            <interface type='hostdev'>
            <source><address type='pci' domain='0x0000' bus='0x07' slot='0x00' function='0x1'/></source>
            <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></interface>
            <interface type='network'><source network='x'/>
            <address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></interface>
            </devices></domain>
            """
        #expect(DomainXML.passedDevices(in: document)?.map(\.description) == ["0000:06:12.5", "0000:07:00.1"])
        for length in [0, 7, 30, document.count - 3] {
            #expect(DomainXML.passedDevices(in: String(document.prefix(length))) == nil)
        }
    }

    @Test("addresses are read as sysfs writes them, and nothing else is one")
    func addresses() {
        for text in ["0000:3b:00.0", "10000:01:1f.7", "0000:ff:1f.7"] {
            #expect(PCIAddress(text)?.description == text)
        }
        for text in [
            "", "3b:00.0", "0000:3b:20.0", "0000:3b:00.8", "0000:3b:00", "0000:3b:00.0\"/>", "00g0:3b:00.0",
            "0000:+b:00.0",
            "123456789:00:00.0", "0000:3b:0.00",
        ] { #expect(PCIAddress(text) == nil, "\(text)") }
    }

    @Test("a guest is put beside its devices, on their processors where it has no more than there are")
    func numa() throws {
        let root = NSTemporaryDirectory() + "roost-numa-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        let folder = root + "/devices/system/node/node1"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data("8-11,24\n".utf8).write(to: URL(filePath: folder + "/cpulist"))
        #expect(NUMAPlace(node: 1, vcpus: 5, sysfsRoot: root) == NUMAPlace(node: 1, processors: "8-11,24"))
        #expect(NUMAPlace(node: 1, vcpus: 6, sysfsRoot: root) == NUMAPlace(node: 1, processors: nil))
        #expect(NUMAPlace(node: 2, vcpus: 1, sysfsRoot: root) == NUMAPlace(node: 2, processors: nil))
        for text in ["", "a", "1-", "3-1", "1,,2", "-1"] { #expect(NUMAPlace.count(text) == nil, "\(text)") }
    }

    @Test("libvirt's own schema accepts each value of each setting of hardware, and any that go together")
    func hardwareSchema() async throws {
        let path = NSTemporaryDirectory() + "roost-domain-\(UUID().uuidString).xml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        var random = SeededNumbers(state: 6)
        var wanted = HardwareSettings.values.flatMap { name, values in
            values.compactMap { try? GuestHardware(settings: Self.companions(of: name, $0)) }
        }
        wanted += (0..<60).map { _ in HardwareSettings.random(using: &random) }
        for hardware in wanted {
            for accelerator in [DomainSpecification.Accelerator.kvm, .tcg] {
                let document = Self.document {
                    $0.hardware = hardware
                    // As the host's offer settles it.
                    if hardware.secureBoot == .optional { $0.hardware.secureBoot = .required }
                    $0.nvramPath = "/data/<nvram>.fd"
                    $0.vcpus = 4
                    $0.accelerator = accelerator
                    if Bool.random(using: &random) { Self.withDevices(&$0) }
                }
                try Data(document.utf8).write(to: URL(filePath: path))
                do {
                    try await HostProgram.run("virt-xml-validate", [path, "domain"])
                } catch {
                    Issue.record("\(hardware.settings): \(error)\n\(document)")
                }
            }
        }
    }

    /// A setting, with those that it needs.
    private static func companions(of name: String, _ value: String) -> [String: String] {
        var settings = [name: value]
        if value == "ide" { settings["hw_machine_type"] = "pc" }
        if name == "os_secure_boot" { settings["hw_firmware_type"] = "uefi" }
        if name.hasPrefix("quota:vif_inbound") { settings["quota:vif_inbound_average", default: "1"] = value }
        if name.hasPrefix("quota:vif_outbound") { settings["quota:vif_outbound_average", default: "1"] = value }
        return settings
    }

    @Test("what hardware is asked for stands in the document, and an ordinary guest's has none of it")
    func hardware() throws {
        let document = Self.document {
            $0.hardware = (try? GuestHardware(settings: Self.remarkable)) ?? .ordinary
            $0.accelerator = .kvm
            $0.vcpus = 4
            $0.nvramPath = "/data/nvram.fd"
        }
        for part in [
            "<os firmware=\"efi\"><type arch=\"x86_64\" machine=\"pc-q35-7.2\">hvm</type>",
            "<feature enabled=\"yes\" name=\"secure-boot\"/>", "<nvram>/data/nvram.fd</nvram>", "<smm state=\"on\"/>",
            "<model type=\"qxl\" vram=\"8192\" heads=\"1\"/>", "<target dev=\"vda\" bus=\"sata\"/>",
            "<target dev=\"vdb\" bus=\"sata\"/>",
            "<iotune><total_bytes_sec>1048576</total_bytes_sec><read_iops_sec>100</read_iops_sec></iotune>",
            "<model type=\"e1000e\"/><bandwidth><inbound average=\"1000\" peak=\"2000\" burst=\"512\"/></bandwidth>",
            "<watchdog model=\"i6300esb\" action=\"reset\"/>", "<input type=\"tablet\" bus=\"usb\"/>",
            "name=\"org.qemu.guest_agent.0\"", "<clock offset=\"localtime\">", "<hyperv mode=\"custom\">",
            "<topology sockets=\"1\" dies=\"1\" cores=\"2\" threads=\"2\"/>",
        ] { #expect(document.contains(part), "\(part) is not in \(document)") }
        let ordinary = Self.document()
        for part in ["firmware", "nvram", "video", "iotune", "bandwidth", "watchdog", "channel", "topology", "hyperv"] {
            #expect(!ordinary.contains("<\(part)"), "\(part)")
        }
        #expect(ordinary.contains("<clock offset=\"utc\"/>"))
    }

    static let place: DomainPlace = DomainPlace(
        cells: [
            .init(host: 0, vcpus: 2, memoryBytes: 1 << 30, processors: [4, 12], shared: .none),
            .init(host: 1, vcpus: 1, memoryBytes: 1 << 30, processors: [], shared: ProcessorSet("1,9") ?? .none),
        ], pageBytes: 2 << 20, shared: ProcessorSet("0-1,8-9"))

    @Test("a guest lies where it was placed: processors, nodes, huge pages; libvirt's schema accepts it")
    func placed() async throws {
        let path = NSTemporaryDirectory() + "roost-domain-\(UUID().uuidString).xml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        func document(_ accelerator: DomainSpecification.Accelerator, _ place: DomainPlace) async throws -> String {
            let document = Self.document {
                $0.accelerator = accelerator
                $0.vcpus = 3
                $0.numa = NUMAPlace(node: 1, processors: "8-15")
                $0.place = place
            }
            try Data(document.utf8).write(to: URL(filePath: path))
            try await HostProgram.run("virt-xml-validate", [path, "domain"])
            return document
        }
        let placed = try await document(.kvm, Self.place)
        for part in [
            "<memoryBacking><hugepages><page size=\"2048\" unit=\"KiB\"/></hugepages></memoryBacking><vcpu>3</vcpu>",
            "<vcpupin vcpu=\"0\" cpuset=\"4\"/><vcpupin vcpu=\"1\" cpuset=\"12\"/><vcpupin vcpu=\"2\" cpuset=\"1,9\"/>",
            "<emulatorpin cpuset=\"0-1,8-9\"/>", "<memnode cellid=\"1\" mode=\"strict\" nodeset=\"1\"/>",
            "<cell id=\"0\" cpus=\"0-1\" memory=\"1048576\" unit=\"KiB\"/>",
        ] { #expect(placed.contains(part), "\(part) is not in \(placed)") }
        // Software processors cannot be told apart.
        let emulated = try await document(.tcg, Self.place)
        #expect(emulated.contains("cpuset=\"1,4,9,12\">3</vcpu>") && !emulated.contains("vcpupin"))
        // One that lies anywhere keeps off what others have, and beside its devices where there is room.
        let shared = DomainPlace(shared: ProcessorSet("0-9"))
        #expect(try await document(.kvm, shared).contains("cpuset=\"0-9\">3</vcpu>"))
        #expect(
            try await document(.kvm, DomainPlace(shared: ProcessorSet("0-10"))).contains("cpuset=\"8-10\">3</vcpu>"))
    }

    @Test("a part without processors of its node runs on those that are shared, and on no guest's own")
    func nothingToShare() {
        let cell = DomainPlace.Cell(host: 1, vcpus: 2, memoryBytes: 1 << 30, processors: [], shared: .none)
        var place = DomainPlace(cells: [cell], shared: ProcessorSet("0-1"))
        let document = Self.document {
            ($0.accelerator, $0.vcpus, $0.place) = (.kvm, 2, place)
        }
        #expect(document.contains("<vcpupin vcpu=\"0\" cpuset=\"0-1\"/><vcpupin vcpu=\"1\" cpuset=\"0-1\"/>"))
        #expect(!place.hasNowhereToRun && !DomainPlace().hasNowhereToRun)
        place.shared = ProcessorSet.none
        #expect(place.hasNowhereToRun && DomainPlace(shared: ProcessorSet.none).hasNowhereToRun)
        place.cells[0].processors = [4, 5]
        #expect(!place.hasNowhereToRun)
    }

    static let remarkable = [
        "hw_machine_type": "pc-q35-7.2", "hw_firmware_type": "uefi", "os_secure_boot": "required",
        "hw_video_model": "qxl", "hw_video_ram": "8", "hw_disk_bus": "sata", "hw_vif_model": "e1000e",
        "hw_watchdog_action": "reset", "hw_input_bus": "usb", "hw_qemu_guest_agent": "yes", "os_type": "windows",
        "hw_cpu_sockets": "1", "hw_cpu_threads": "2", "quota:disk_total_bytes_sec": "1048576",
        "quota:disk_read_iops_sec": "100", "quota:vif_inbound_average": "1000", "quota:vif_inbound_peak": "2000",
        "quota:vif_inbound_burst": "512",
    ]

    @Test("libvirt's own schema accepts the document", arguments: ["web", "a <b> & \"c\"\n", ""])
    func schema(_ title: String) async throws {
        let path = NSTemporaryDirectory() + "roost-domain-\(UUID().uuidString).xml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        for (base, hasDevices) in [("/data/_base/abc", false), (nil, false), (nil, true)] {
            let document = Self.document {
                if hasDevices { Self.withDevices(&$0) }
                $0.title = title
                $0.basePath = base
                $0.emulator = "/usr/bin/qemu-system-x86_64"
            }
            try Data(document.utf8).write(to: URL(filePath: path))
            try await HostProgram.run("virt-xml-validate", [path, "domain"])
        }
    }
}
