import Glibc

/// Reads what a host has in devices, and what it needs for itself.
public struct HostScanner: Sendable {
    /// Files of `/proc` that are read; larger ones than any host has are cut off.
    private static let maximumBytes = 4 << 20

    private let sysfs: SmallFiles
    private let proc: SmallFiles
    private let scanner: PCIScanner
    private let addresses: @Sendable () -> Set<String>

    /// - Parameter addresses: names of the interfaces that carry an address of the host.
    public init(
        sysfsRoot: String = "/sys", procRoot: String = "/proc",
        addresses: @escaping @Sendable () -> Set<String> = HostScanner.interfacesWithAddress
    ) {
        sysfs = SmallFiles(root: sysfsRoot)
        proc = SmallFiles(root: procRoot)
        scanner = PCIScanner(sysfsRoot: sysfsRoot)
        self.addresses = addresses
    }

    public func scan() throws(PCIScanner.Failure) -> HostDevices {
        let devices = try scanner.scan()
        var uses: [String: [HostUse]] = [:]
        BlockUses(sysfs: sysfs, mounts: text("self/mountinfo"), swaps: text("swaps")).collect(into: &uses)
        NetworkUses(sysfs: sysfs, addresses: addresses()).collect(into: &uses)
        return HostDevices(devices: devices, iommu: iommu(), uses: uses)
    }

    private func iommu() -> IOMMUFacts {
        let processor = text("cpuinfo")
        func line(_ key: String) -> Substring {
            processor.split(separator: "\n").first { $0.hasPrefix(key) } ?? ""
        }
        let vendor = line("vendor_id")
        return IOMMUFacts(
            isOn: sysfs.names("kernel/iommu_groups", limit: 1)?.isEmpty == false,
            processor: vendor.hasSuffix("GenuineIntel") ? .intel : vendor.hasSuffix("AuthenticAMD") ? .amd : .other,
            kernelParameters: text("cmdline").split { $0.isWhitespace }.prefix(256).map(String.init),
            isVirtualMachine: line("flags").split(separator: " ").contains("hypervisor"))
    }

    private func text(_ path: String) -> String {
        String(decoding: proc.bytes(path, limit: Self.maximumBytes) ?? [], as: UTF8.self)
    }

    /// Interfaces of this process's network with an address that others may reach it by: IPv6 link-local ones, which every
    /// interface has, do not count.
    @Sendable
    public static func interfacesWithAddress() -> Set<String> {
        var first: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&first) == 0 else { return [] }
        defer { freeifaddrs(first) }
        var names: Set<String> = []
        var next = first
        while let entry = next {
            next = entry.pointee.ifa_next
            guard let address = entry.pointee.ifa_addr, let name = entry.pointee.ifa_name else { continue }
            let isReachable =
                switch Int32(address.pointee.sa_family) {
                case AF_INET: true
                case AF_INET6:
                    address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { address in
                        withUnsafeBytes(of: address.pointee.sin6_addr) { $0[0] != 0xFE || $0[1] & 0xC0 != 0x80 }
                    }
                default: false
                }
            if isReachable { names.insert(String(cString: name)) }
        }
        return names
    }
}

/// The nearest PCI device above what a link of sysfs points to.
func owner(_ link: [Substring]) -> String? { link.last { PCIScanner.isAddress(String($0)) }.map(String.init) }

/// Disks and partitions that the host uses, by the PCI device they hang on.
struct BlockUses {
    private static let maximumDisks = 16_384
    private static let maximumHolders = 64

    let sysfs: SmallFiles
    /// By `major:minor` and by name: a file system of several disks has a number of its own.
    private var mountsByNumber: [Substring: Substring] = [:]
    private var mountsByName: [Substring: Substring] = [:]
    private var swaps: Set<Substring> = []

    init(sysfs: SmallFiles, mounts: String, swaps: String) {
        self.sysfs = sysfs
        for line in mounts.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count >= 7, let dash = fields.firstIndex(of: "-"), dash >= 6 else { continue }
            mountsByNumber[fields[2]] = mountsByNumber[fields[2]] ?? fields[4]
            guard dash + 2 < fields.count, fields[dash + 2].hasPrefix("/dev/") else { continue }
            let name = fields[dash + 2].dropFirst(5)
            mountsByName[name] = mountsByName[name] ?? fields[4]
        }
        for line in swaps.split(separator: "\n") where line.hasPrefix("/dev/") {
            self.swaps.insert(line.dropFirst(5).prefix { !$0.isWhitespace })
        }
    }

    func collect(into uses: inout [String: [HostUse]]) {
        for name in sysfs.names("class/block", limit: Self.maximumDisks) ?? [] {
            let found = self.uses(of: name)
            guard !found.isEmpty else { continue }
            for owner in owners(of: name) { uses[owner, default: []] += found }
        }
    }

    private func uses(of name: String) -> [HostUse] {
        var uses: [HostUse] = []
        let number = sysfs.line("class/block/\(name)/dev") ?? ""
        if let path = mountsByNumber[Substring(number)] ?? mountsByName[Substring(name)] {
            uses.append(.mounted(disk: name, at: String(path)))
        }
        if swaps.contains(Substring(name)) { uses.append(.swap(disk: name)) }
        for holder in sysfs.names("class/block/\(name)/holders", limit: Self.maximumHolders) ?? [] {
            uses.append(.holder(disk: name, holder: holder))
        }
        return uses
    }

    /// One, or none; several where an NVMe disk is reached by several controllers.
    private func owners(of name: String) -> [String] {
        guard let link = sysfs.linkParts("class/block/\(name)") else { return [] }
        if let owner = owner(link) { return [owner] }
        guard let kind = link.firstIndex(of: "nvme-subsystem"), kind + 1 < link.count else { return [] }
        let subsystem = "class/nvme-subsystem/\(link[kind + 1])"
        return (sysfs.names(subsystem, limit: Self.maximumHolders) ?? [])
            .compactMap { sysfs.linkParts("\(subsystem)/\($0)").flatMap(owner) }
    }
}

/// Interfaces that the host uses, by the PCI device they hang on.
struct NetworkUses {
    private static let maximumInterfaces = 16_384

    let sysfs: SmallFiles
    let addresses: Set<String>

    func collect(into uses: inout [String: [HostUse]]) {
        for name in sysfs.names("class/net", limit: Self.maximumInterfaces) ?? [] {
            guard let owner = sysfs.linkParts("class/net/\(name)").flatMap(owner) else { continue }
            if addresses.contains(name) { uses[owner, default: []].append(.address(interface: name)) }
            for entry in sysfs.names("class/net/\(name)", limit: 1024) ?? [] where entry.hasPrefix("upper_") {
                uses[owner, default: []].append(.upper(interface: name, upper: String(entry.dropFirst(6))))
            }
        }
    }
}
