import Foundation
import FoundationXML
import ProtocolModel

extension DomainXML {
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
