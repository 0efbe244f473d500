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
            memoryBacking(of: domain)
            processors(of: domain)
            memoryPlace(of: domain)
            firmware(of: domain)
            features(of: domain)
            processorModel(of: domain)
            clock(of: domain)
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
}
