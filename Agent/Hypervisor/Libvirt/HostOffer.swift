import CLibvirt
import Foundation
import FoundationXML
import ProtocolModel

/// What the host's libvirt says that its QEMU can give a guest on one machine type (`virsh domcapabilities`).
struct HostOffer: Equatable {
    /// By the element that lists them and the list's name, such as `devices/video modelType`.
    private var lists: [String: Set<String>] = [:]

    /// `nil` where it is no such document.
    init?(_ document: String) {
        guard document.utf8.count < 4 << 20 else { return nil }
        let reader = Reader()
        let parser = XMLParser(data: Data(document.utf8))
        parser.shouldResolveExternalEntities = false
        parser.delegate = reader
        guard parser.parse(), reader.isWhole else { return nil }
        lists = reader.lists
    }

    /// Asks libvirt. A machine that it does not have is an error that says so.
    init(
        _ hardware: GuestHardware, _ accelerator: DomainSpecification.Accelerator, emulator: String?,
        on connection: OpaquePointer
    ) throws(HypervisorError) {
        let machine = hardware.machine ?? "q35"
        let kind = accelerator == .kvm ? "kvm" : "qemu"
        guard let text = virConnectGetDomainCapabilities(connection, emulator, "x86_64", machine, kind, 0) else {
            guard LibvirtConnection.isLastError(VIR_ERR_INVALID_ARG) else { throw LibvirtConnection.lastError }
            throw .hardwareRefused(
                "this host has no machine of type '\(machine)', which hw_machine_type of the image asks for (libvirt: "
                    + "\(LibvirtConnection.lastMessage)); 'virsh capabilities' lists those that it has")
        }
        defer { free(text) }
        guard let offer = HostOffer(String(cString: text)) else {
            throw .refused(code: 0, message: "libvirt says what guests can have in a way that cannot be read")
        }
        self = offer
    }

    var hasSecureBoot: Bool { lists["os/loader secure"]?.contains("yes") ?? false }

    /// The hardware as this host gives it: what is optional is settled.
    ///
    /// - Throws: what the host does not have, and what it has.
    func settle(_ hardware: GuestHardware, vcpus: Int) throws(HypervisorError) -> GuestHardware {
        do throws(GuestHardware.Fault) {
            _ = try hardware.topology(vcpus: vcpus)
        } catch {
            throw .hardwareRefused("\(error.property) \(error.detail)")
        }
        if hardware.firmware == .uefi {
            try check("efi", in: "os firmware", for: .firmware, "; install ovmf (edk2) on the host")
        }
        if let video = hardware.video, video != .none {
            try check(video.rawValue, in: "devices/video modelType", for: .video)
        }
        try check(hardware.disk.rawValue, in: "devices/disk bus", for: .disk)
        var settled = hardware
        switch hardware.secureBoot {
        case .disabled: break
        case .optional: settled.secureBoot = hardware.firmware == .uefi && hasSecureBoot ? .required : .disabled
        case .required: try check("yes", in: "os/loader secure", for: .secureBoot, "; install ovmf (edk2) on the host")
        }
        return settled
    }

    /// A libvirt that does not list is asked by the start itself.
    private func check(
        _ value: String, in list: String, for property: GuestHardware.Property, _ advice: String = ""
    ) throws(HypervisorError) {
        guard let offered = lists[list], !offered.contains(value) else { return }
        throw .hardwareRefused(
            "this host cannot give what \(property.rawValue) of the image asks for: it has \(offered.sorted().joined(separator: ", "))"
                + advice)
    }

    private final class Reader: NSObject, XMLParserDelegate {
        var lists: [String: Set<String>] = [:]
        private(set) var isWhole = false
        private var path: [String] = []
        private var list: String?
        private var value: String?

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes found: [String: String]
        ) {
            if name == "enum", let enumeration = found["name"], path.first == "domainCapabilities" {
                list = path.dropFirst().joined(separator: "/") + " " + enumeration
                lists[list ?? "", default: []] = []
            }
            if name == "value", list != nil { value = "" }
            path.append(name)
        }

        func parser(_ parser: XMLParser, foundCharacters string: String) { value? += string }

        func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
            path.removeLast()
            if name == "value", let list, let value {
                lists[list, default: []].insert(value)
                self.value = nil
            }
            if name == "enum" { list = nil }
            if path.isEmpty { isWhole = true }
        }
    }
}
