import Foundation
import FoundationXML
import ProtocolModel
import Testing

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
        let plain = try #require(Shape(Self.document())).elements
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

    @Test("libvirt's own schema accepts the document", arguments: ["web", "a <b> & \"c\"\n", ""])
    func schema(_ title: String) async throws {
        let path = NSTemporaryDirectory() + "roost-domain-\(UUID().uuidString).xml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        for base in ["/data/_base/abc", nil] {
            let document = Self.document {
                $0.title = title
                $0.basePath = base
                $0.emulator = "/usr/bin/qemu-system-x86_64"
            }
            try Data(document.utf8).write(to: URL(filePath: path))
            try await HostProgram.run("virt-xml-validate", [path, "domain"])
        }
    }
}
