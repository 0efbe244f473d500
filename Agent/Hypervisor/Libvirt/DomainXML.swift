import Foundation
import FoundationXML
import ProtocolModel

/// The one way from a specification to libvirt's XML. Text and attributes are escaped in one place, so that no name can
/// open or close an element (SEC-06).
enum DomainXML {
    static let namespace = "urn:roost:domain:1"

    static func name(of instance: InstanceID) -> String { "roost-\(instance)" }

    /// - Parameter node: whose agent starts the domain, and may look at it afterwards.
    static func document(_ domain: DomainSpecification, node: NodeID) -> String {
        let root = Element("domain", ["type": domain.accelerator == .kvm ? "kvm" : "qemu"]) {
            Element("name", text: name(of: domain.instance))
            Element("uuid", text: "\(domain.instance)")
            Element("title", text: title(domain))
            Element("metadata") { marks(of: domain, node) }
            Element("memory", ["unit": "KiB"], text: "\(domain.memoryBytes >> 10)")
            processors(of: domain)
            if let numa = domain.numa {
                Element("numatune") { Element("memory", ["mode": "preferred", "nodeset": "\(numa.node)"]) }
            }
            Element("os") {
                Element("type", ["arch": "x86_64", "machine": "q35"], text: "hvm")
                Element("boot", ["dev": "hd"])
            }
            Element("features") {
                Element("acpi")
                Element("apic")
            }
            Element("cpu", ["mode": domain.accelerator == .kvm ? "host-passthrough" : "maximum"])
            Element("clock", ["offset": "utc"])
            Element("on_poweroff", text: "destroy")
            Element("on_reboot", text: "restart")
            Element("on_crash", text: "destroy")
            devices(of: domain)
        }
        return root.rendered
    }

    /// One line, which is all that libvirt takes, and never empty.
    private static func title(_ domain: DomainSpecification) -> String {
        let line = domain.title.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? " " : String($0) }.joined()
        return line.isEmpty ? "\(domain.instance)" : line
    }

    private static func processors(of domain: DomainSpecification) -> Element {
        guard let processors = domain.numa?.processors else { return Element("vcpu", text: "\(domain.vcpus)") }
        return Element("vcpu", ["placement": "static", "cpuset": processors], text: "\(domain.vcpus)")
    }

    private static func marks(of domain: DomainSpecification, _ node: NodeID) -> Element {
        Element(
            "roost:instance",
            [
                "xmlns:roost": namespace, "id": "\(domain.instance)", "node": "\(node)", "epoch": "\(domain.epoch)",
                "power_cycle": "\(domain.powerCycle)", "started_at_ms": "\(domain.startedAt.milliseconds)",
                "vcpus": "\(domain.vcpus)", "memory_bytes": "\(domain.memoryBytes)",
                "devices": domain.assignedDevices.joined(separator: " "),
            ])
    }

    /// Never `managed`: libvirt would bind and unbind by itself, whatever the ledger says.
    private static func passed(_ device: PCIAddress) -> Element {
        Element("hostdev", ["mode": "subsystem", "type": "pci", "managed": "no"]) {
            Element("driver", ["name": "vfio"])
            Element("source") {
                Element(
                    "address",
                    [
                        "domain": "0x" + PCIAddress.digits(device.domain, 4),
                        "bus": "0x" + PCIAddress.digits(UInt32(device.bus), 2),
                        "slot": "0x" + PCIAddress.digits(UInt32(device.slot), 2), "function": "0x\(device.function)",
                    ])
            }
        }
    }

    private static func devices(of domain: DomainSpecification) -> Element {
        Element("devices") {
            if let emulator = domain.emulator { Element("emulator", text: emulator) }
            // Formats are named, never guessed: a guest may write any header into its disk (SEC-02).
            Element("disk", ["type": "file", "device": "disk"]) {
                Element("driver", ["name": "qemu", "type": domain.diskFormat.rawValue, "discard": "unmap"])
                Element("source", ["file": domain.diskPath])
                // A raw disk has nothing below it, and is not looked into for it.
                if domain.diskFormat == .raw { Element("backingStore") }
                if domain.diskFormat == .qcow2, let base = domain.basePath { backing(base) }
                Element("target", ["dev": "vda", "bus": "virtio"])
            }
            Element("disk", ["type": "file", "device": "disk"]) {
                Element("driver", ["name": "qemu", "type": "raw"])
                Element("source", ["file": domain.seedPath])
                Element("target", ["dev": "vdb", "bus": "virtio"])
                Element("readonly")
            }
            Element("interface", ["type": "network"]) {
                Element("mac", ["address": domain.macAddress])
                Element("source", ["network": domain.network])
                Element("model", ["type": "virtio"])
            }
            Element("serial", ["type": "pty"]) { Element("log", ["file": domain.consoleLogPath, "append": "off"]) }
            Element("console", ["type": "pty"])
            Element("rng", ["model": "virtio"]) { Element("backend", ["model": "random"], text: "/dev/urandom") }
            Element("memballoon", ["model": "virtio"]) { Element("stats", ["period": "10"]) }
            for device in domain.devices { passed(device) }
        }
    }

    /// The whole chain below a disk.
    static func backing(_ base: String) -> Element {
        Element("backingStore", ["type": "file"]) {
            Element("format", ["type": "raw"])
            Element("source", ["file": base]) { Element("seclabel", ["model": "dac", "relabel": "no"]) }
            Element("backingStore")
        }
    }

    /// What was recorded in a domain when it was defined.
    struct Marks: Equatable {
        var instance: InstanceID
        var node: NodeID
        var epoch: Epoch
        var powerCycle: PowerCycle
        var startedAt: Timestamp?
        var vcpus: Int
        var memoryBytes: UInt64
        /// As assigned.
        var devices: [String]

        /// Reads the element that libvirt hands back; anything that is not ours is `nil`.
        init?(_ xml: String) {
            guard xml.utf8.count < 64 * 1024 else { return nil }
            let reader = AttributeReader()
            let parser = XMLParser(data: Data(xml.utf8))
            parser.shouldResolveExternalEntities = false
            parser.delegate = reader
            guard parser.parse(), let id = reader.attributes["id"].flatMap({ InstanceID($0) }),
                let node = reader.attributes["node"].flatMap({ NodeID($0) }),
                let epoch = reader.attributes["epoch"].flatMap({ UInt64($0) }),
                let cycle = reader.attributes["power_cycle"].flatMap({ UInt64($0) })
            else { return nil }
            instance = id
            self.node = node
            self.epoch = Epoch(epoch)
            powerCycle = PowerCycle(cycle)
            startedAt = reader.attributes["started_at_ms"].flatMap { Int64($0) }.map(Timestamp.init(milliseconds:))
            vcpus = reader.attributes["vcpus"].flatMap { Int($0) } ?? 0
            memoryBytes = reader.attributes["memory_bytes"].flatMap { UInt64($0) } ?? 0
            devices = (reader.attributes["devices"] ?? "").split(separator: " ").map(String.init)
        }
    }

    final class AttributeReader: NSObject, XMLParserDelegate {
        var attributes: [String: String] = [:]

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes found: [String: String]
        ) {
            if attributes.isEmpty { attributes = found }
        }
    }
}

/// A piece of XML that is being built.
struct Element {
    private let name: String
    private let attributes: [(String, String)]
    private let children: [Element]
    private let text: String?

    init(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], text: String? = nil) {
        self.name = name
        self.attributes = attributes.map { ($0.key, $0.value) }
        self.children = []
        self.text = text
    }

    init(
        _ name: String, _ attributes: KeyValuePairs<String, String> = [:], @ElementsBuilder _ children: () -> [Element]
    ) {
        self.name = name
        self.attributes = attributes.map { ($0.key, $0.value) }
        self.children = children()
        self.text = nil
    }

    var rendered: String {
        let opening = attributes.reduce("<" + name) { $0 + " \($1.0)=\"\(Self.escaped($1.1))\"" }
        let content = (text.map(Self.escaped) ?? "") + children.map(\.rendered).joined()
        return content.isEmpty ? opening + "/>" : opening + ">" + content + "</\(name)>"
    }

    /// Escapes what XML 1.0 §2.4 names, and replaces the characters that §2.2 forbids.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&apos;"
            case "\t", "\n", "\r": result += "&#\(scalar.value);"
            case "\u{0}"..."\u{1F}", "\u{FFFE}", "\u{FFFF}": result += "\u{FFFD}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

@resultBuilder
enum ElementsBuilder {
    static func buildExpression(_ element: Element) -> [Element] { [element] }
    static func buildBlock(_ parts: [Element]...) -> [Element] { parts.flatMap { $0 } }
    static func buildOptional(_ part: [Element]?) -> [Element] { part ?? [] }
    static func buildArray(_ parts: [[Element]]) -> [Element] { parts.flatMap { $0 } }
}
