import Foundation
import FoundationXML
import ProtocolModel

/// XML of copies of disks: the job that copies, and the domain that stands in for one that does not run.
enum CopyXML {
    /// libvirt knows the boot disk of our domains by this name.
    private static let disk = "vda"
    private static let prefix = "roost-copy-"

    static func name(of image: ImageID) -> String { prefix + "\(image)" }

    /// The image that a domain's name speaks of; `nil` for one that is not there for a copy.
    static func namedImage(_ name: String) -> ImageID? {
        guard name.hasPrefix(prefix), let image = ImageID(name.dropFirst(prefix.count)), name == self.name(of: image)
        else { return nil }
        return image
    }

    /// A push backup of the boot disk alone: all of it, as it is when the job begins.
    static func job(target: String) -> String {
        Element("domainbackup", ["mode": "push"]) {
            Element("disks") {
                Element("disk", ["name": disk, "backup": "yes", "type": "file", "backupmode": "full"]) {
                    Element("driver", ["type": "raw"])
                    Element("target", ["file": target])
                }
            }
        }.rendered
    }

    /// A domain that has the disk and nothing else, and never runs an instruction.
    static func domain(_ copy: DiskCopy, base: String?, node: NodeID) -> String {
        Element("domain", ["type": "qemu"]) {
            Element("name", text: name(of: copy.image))
            Element("title", text: "copies the disk of instance \(copy.instance) for image \(copy.image)")
            Element("metadata") {
                Element(
                    "roost:copy",
                    [
                        "xmlns:roost": DomainXML.namespace, "image": "\(copy.image)", "instance": "\(copy.instance)",
                        "node": "\(node)",
                    ])
            }
            Element("memory", ["unit": "MiB"], text: "16")
            Element("vcpu", text: "1")
            Element("os") { Element("type", ["arch": "x86_64", "machine": "q35"], text: "hvm") }
            Element("devices") {
                if let emulator = copy.emulator { Element("emulator", text: emulator) }
                Element("disk", ["type": "file", "device": "disk"]) {
                    Element("driver", ["name": "qemu", "type": copy.disk.format.rawValue])
                    Element("source", ["file": copy.disk.path])
                    if copy.disk.format == .raw { Element("backingStore") }
                    if copy.disk.format == .qcow2, let base { DomainXML.backing(base) }
                    Element("target", ["dev": disk, "bus": "virtio"])
                }
                Element("controller", ["type": "usb", "model": "none"])
                Element("memballoon", ["model": "none"])
            }
        }.rendered
    }

    /// Whose agent started the domain that stands in; `nil` for one that is not such.
    static func node(marks xml: String) -> NodeID? {
        guard xml.utf8.count < 64 * 1024 else { return nil }
        let reader = DomainXML.AttributeReader()
        let parser = XMLParser(data: Data(xml.utf8))
        parser.shouldResolveExternalEntities = false
        parser.delegate = reader
        guard parser.parse(), reader.attributes["image"] != nil else { return nil }
        return reader.attributes["node"].flatMap { NodeID($0) }
    }

    /// The file that a job writes, as libvirt describes the job.
    static func target(job xml: String) -> String? {
        guard xml.utf8.count < 64 * 1024 else { return nil }
        let reader = TargetReader()
        let parser = XMLParser(data: Data(xml.utf8))
        parser.shouldResolveExternalEntities = false
        parser.delegate = reader
        return parser.parse() ? reader.target : nil
    }

    private final class TargetReader: NSObject, XMLParserDelegate {
        var target: String?

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes: [String: String]
        ) {
            if name == "target", target == nil { target = attributes["file"] }
        }
    }
}
