import CLibvirt
import Foundation
import FoundationXML

/// The guests' NAT network on this host, kept by libvirt: bridge, DHCP and masquerading. The manager chooses addresses;
/// a DHCP reservation makes the guest get the one that was chosen.
public struct LibvirtNetwork: Sendable {
    public struct Subnet: Sendable, Equatable {
        public let text: String
        let gateway: String
        let netmask: String

        /// Reads CIDR with a prefix of 8 to 29 bits.
        public init?(_ text: String) {
            let parts = text.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count == 2, let prefix = UInt32(parts[1]), (8...29).contains(prefix) else { return nil }
            let numbers = parts[0].split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
            guard numbers.count == 4, !numbers.contains(nil) else { return nil }
            let mask = UInt32.max << (32 - prefix)
            let base = numbers.compactMap { $0 }.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & mask
            func dotted(_ value: UInt32) -> String {
                [24, 16, 8, 0].map { String(value >> UInt32($0) & 255) }.joined(separator: ".")
            }
            self.text = text
            gateway = dotted(base + 1)
            netmask = dotted(mask)
        }
    }

    private let connection: LibvirtConnection
    public let name: String
    private let bridge: String
    private let subnet: Subnet

    public init(_ hypervisor: LibvirtHypervisor, name: String, bridge: String, subnet: Subnet) {
        connection = hypervisor.connection
        self.name = name
        self.bridge = bridge
        self.subnet = subnet
    }

    /// Defines and starts the network where that has not been done. A network of the same name with another subnet is an
    /// error: guests may be on it.
    public func ensure() async throws(HypervisorError) {
        let (name, subnet, xml) = (self.name, self.subnet, document)
        try await connection.call { connection in
            let network: NetworkHandle
            if let existing = try NetworkHandle(name, on: connection) {
                network = existing
                guard let text = virNetworkGetXMLDesc(network.raw, 0) else { throw LibvirtConnection.lastError }
                defer { free(text) }
                guard String(cString: text).contains("address='\(subnet.gateway)' netmask='\(subnet.netmask)'") else {
                    throw HypervisorError.badConfiguration(
                        "libvirt has a network '\(name)' of another subnet than \(subnet.text); set network.subnet to its subnet, or "
                            + "remove it with 'virsh net-destroy' and 'virsh net-undefine'")
                }
            } else {
                guard let raw = virNetworkDefineXML(connection, xml) else { throw LibvirtConnection.lastError }
                network = NetworkHandle(owning: raw)
            }
            if virNetworkIsActive(network.raw) == 0 {
                guard virNetworkCreate(network.raw) == 0 else { throw LibvirtConnection.lastError }
            }
            // After a boot of the host, guests come back before anybody asks.
            _ = virNetworkSetAutostart(network.raw, 1)
        }
    }

    /// Makes DHCP give `address` to the guest with this MAC; repeatable.
    public func reserve(mac: String, address: String) async throws(HypervisorError) {
        let (name, entry) = (self.name, Self.entry(mac: mac, address: address))
        try await connection.call { connection in
            guard let network = try NetworkHandle(name, on: connection) else {
                throw HypervisorError.badConfiguration("libvirt has no network '\(name)'")
            }
            // Each update makes dnsmasq read everything again and takes half a second, so none is made in vain.
            let present = try network.reservations()
            if present.contains(where: { $0.mac == mac.lowercased() && $0.address == address }) { return }
            // libvirt has one reservation for each address and each card, and an entry goes only by its exact words. The
            // manager gives an address to one instance at a time (P3), so that what is there is left over.
            for old in present where old.mac == mac.lowercased() || old.address == address {
                network.update(VIR_NETWORK_UPDATE_COMMAND_DELETE, Self.entry(mac: old.mac, address: old.address))
            }
            guard network.update(VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, entry) else { throw LibvirtConnection.lastError }
        }
    }

    /// Ends a reservation; no error where there is none.
    public func release(mac: String, address: String) async throws(HypervisorError) {
        let name = self.name
        try await connection.call { connection in
            guard let network = try NetworkHandle(name, on: connection) else { return }
            for old in try network.reservations() where old.mac == mac.lowercased() && old.address == address {
                guard network.update(VIR_NETWORK_UPDATE_COMMAND_DELETE, Self.entry(mac: old.mac, address: old.address))
                else { throw LibvirtConnection.lastError }
            }
        }
    }

    private static func entry(mac: String, address: String) -> String {
        // Two minutes, dnsmasq's shortest: an address that changes hands must not be held by the lease of a guest that
        // is gone.
        Element("host", ["mac": mac, "ip": address]) { Element("lease", ["expiry": "2", "unit": "minutes"]) }.rendered
    }

    private var document: String {
        Element("network") {
            Element("name", text: name)
            Element("forward", ["mode": "nat"])
            Element("bridge", ["name": bridge, "stp": "off", "delay": "0"])
            Element("ip", ["address": subnet.gateway, "netmask": subnet.netmask]) { Element("dhcp") }
        }.rendered
    }
}

/// Owns one libvirt network reference; freed exactly once.
private struct NetworkHandle: ~Copyable {
    let raw: OpaquePointer

    init(owning raw: OpaquePointer) { self.raw = raw }

    init?(_ name: String, on connection: OpaquePointer) throws(HypervisorError) {
        guard let raw = virNetworkLookupByName(connection, name) else {
            if LibvirtConnection.isLastError(VIR_ERR_NO_NETWORK) { return nil }
            throw LibvirtConnection.lastError
        }
        self.raw = raw
    }

    deinit { virNetworkFree(raw) }

    /// What the network gives to whom now.
    func reservations() throws(HypervisorError) -> [(mac: String, address: String)] {
        guard let text = virNetworkGetXMLDesc(raw, 0) else { throw LibvirtConnection.lastError }
        defer { free(text) }
        return NetworkReservations.read(String(cString: text))
    }

    @discardableResult
    func update(_ command: virNetworkUpdateCommand, _ entry: String) -> Bool {
        virNetworkUpdate(
            raw, command.rawValue, VIR_NETWORK_SECTION_IP_DHCP_HOST.rawValue, -1, entry,
            VIR_NETWORK_UPDATE_AFFECT_LIVE.rawValue | VIR_NETWORK_UPDATE_AFFECT_CONFIG.rawValue) == 0
    }
}

/// Finds the reservations in libvirt's description of a network.
enum NetworkReservations {
    static func read(_ xml: String) -> [(mac: String, address: String)] {
        let reader = HostReader()
        let parser = XMLParser(data: Data(xml.utf8))
        parser.shouldResolveExternalEntities = false
        parser.delegate = reader
        return parser.parse() ? reader.found : []
    }

    private final class HostReader: NSObject, XMLParserDelegate {
        var found: [(mac: String, address: String)] = []

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes: [String: String]
        ) {
            guard name == "host", let mac = attributes["mac"], let address = attributes["ip"] else { return }
            found.append((mac.lowercased(), address))
        }
    }
}
