import Foundation
import FoundationXML

extension DomainXML {
    /// The PCI devices of the host in a domain's document as libvirt writes it; `nil` where it is none.
    static func passedDevices(in document: String) -> [PCIAddress]? {
        // As much as a domain of many hundred disks has.
        guard document.utf8.count < 16 << 20 else { return nil }
        let reader = PassedDeviceReader()
        let parser = XMLParser(data: Data(document.utf8))
        parser.shouldResolveExternalEntities = false
        parser.delegate = reader
        // Foundation's parser takes a document that breaks off for a whole one.
        return parser.parse() && reader.isWhole ? reader.devices : nil
    }

    private final class PassedDeviceReader: NSObject, XMLParserDelegate {
        var devices: [PCIAddress] = []
        private(set) var isWhole = false
        private var path: [String] = []
        /// Within a device of the bus of the host, and within none of another kind.
        private var isPCI = false

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes found: [String: String]
        ) {
            path.append(name)
            // A card of a network may be one as well: `<interface type="hostdev">`.
            if path == ["domain", "devices", "hostdev"] { isPCI = found["type"] == "pci" }
            if path == ["domain", "devices", "interface"] { isPCI = found["type"] == "hostdev" }
            guard isPCI, path.count == 5, path[3] == "source", name == "address",
                let device = PCIAddress(attributes: found)
            else { return }
            devices.append(device)
        }

        func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
            path.removeLast()
            if path.count == 2 { isPCI = false }
            if path.isEmpty { isWhole = true }
        }
    }
}
