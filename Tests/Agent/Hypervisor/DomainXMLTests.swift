import Foundation
import FoundationXML
import ProtocolModel
import Testing

@testable import AgentHypervisor

@Suite("Domain XML")
struct DomainXMLTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    static func specification(title: String) -> DomainSpecification {
        DomainSpecification(
            instance: .generate(at: now), epoch: Epoch(3), powerCycle: PowerCycle(7), startedAt: now, title: title,
            vcpus: 2,
            memoryBytes: 512 << 20, diskPath: "/d/disk.qcow2", seedPath: "/d/seed.iso",
            consoleLogPath: "/d/console.log",
            macAddress: "52:54:00:00:00:01", network: "roost", accelerator: .tcg, emulator: nil)
    }

    private final class Counter: NSObject, XMLParserDelegate {
        var elements: [String] = []
        var title = ""

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes: [String: String]
        ) {
            elements.append(name)
        }

        func parser(_ parser: XMLParser, foundCharacters text: String) {
            if elements.last == "title" { title += text }
        }
    }

    @Test(
        "SEC-06: no string opens or closes an element",
        arguments: [
            "plain", "</title><devices><disk/></devices><title>", "\" onload='x'", "]]>", "<!--", "&amp;&#0;",
            "a\u{0}\u{1F}b",
            "<?xml?>", "\u{FFFF}", "naïve 名前 🐓",
        ])
    func escaping(title: String) throws {
        let plain = Counter()
        let parser = XMLParser(data: Data(DomainXML.document(Self.specification(title: "x")).utf8))
        parser.delegate = plain
        #expect(parser.parse())
        let hostile = Counter()
        let second = XMLParser(data: Data(DomainXML.document(Self.specification(title: title)).utf8))
        second.delegate = hostile
        #expect(second.parse())
        #expect(hostile.elements == plain.elements)
    }

    @Test("SEC-02: every disk names its format")
    func formats() {
        let text = DomainXML.document(Self.specification(title: "x"))
        #expect(
            text.components(separatedBy: "<disk ").count
                == text.components(separatedBy: "<driver name=\"qemu\" type=").count)
    }

    @Test("reads back what it recorded, and nothing else")
    func marks() throws {
        let specification = Self.specification(title: "x")
        let text = DomainXML.document(specification)
        let begin = try #require(text.range(of: "<roost:instance"))
        let end = try #require(text.range(of: "</metadata>"))
        let marks = try #require(DomainXML.Marks(String(text[begin.lowerBound..<end.lowerBound])))
        #expect(marks.instance == specification.instance)
        #expect(marks.epoch == Epoch(3))
        #expect(marks.powerCycle == PowerCycle(7))
        #expect(marks.startedAt == Self.now)
        #expect(DomainXML.Marks("<other/>") == nil)
        #expect(DomainXML.Marks("not xml") == nil)
    }

    @Test("a seed says only what it was told, whatever the strings hold")
    func seed() throws {
        let seed = InstanceFolder.Seed(
            instance: .generate(at: Self.now), hostName: "h\"\nrunme: x", sshKeys: ["ssh-ed25519 AAAA a\nb"],
            userData: [],
            metadata: ["k: \"": "v\n- x"])
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(seed.metaDataText.utf8)) as? [String: Any])
        #expect(document["local-hostname"] as? String == "h\"\nrunme: x")
        #expect(Set(document.keys) == ["instance-id", "local-hostname", "public-keys", "roost_metadata"])
    }
}
