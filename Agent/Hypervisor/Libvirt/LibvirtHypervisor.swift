import CLibvirt
import Foundation
public import ProtocolModel

/// Guests by libvirt. Domains are defined while they are powered on, so that the reason of a stop outlives both this
/// process and the domain; powering off for good removes the definition (CTL-03).
public final class LibvirtHypervisor: Hypervisor {
    public let events: AsyncStream<DomainEvent>
    let connection: LibvirtConnection
    let node: NodeID

    /// - Parameters:
    ///   - uri: such as `qemu:///system`.
    ///   - node: who asks. Domains of other nodes' agents are none of its own.
    public init(uri: String, node: NodeID) {
        let channel = EventChannel()
        events = channel.stream
        connection = LibvirtConnection(uri: uri, events: channel)
        self.node = node
    }

    // MARK: Looking

    public func describe() async throws(HypervisorError) -> HypervisorDescription {
        try await connection.call { connection in
            var node = virNodeInfo()
            var library: UInt = 0
            var emulator: UInt = 0
            guard virNodeGetInfo(connection, &node) == 0, virConnectGetLibVersion(connection, &library) == 0,
                virConnectGetVersion(connection, &emulator) == 0
            else { throw LibvirtConnection.lastError }
            func version(_ number: UInt) -> String { "\(number / 1_000_000).\(number / 1000 % 1000).\(number % 1000)" }
            let architecture = withUnsafeBytes(of: node.model) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            return HypervisorDescription(
                cpuModel: Self.processorModel() ?? architecture, architecture: architecture, cpuCount: Int(node.cpus),
                // libvirt counts hot-plugged memory blocks alone on some machines: the kernel's own figure is never less.
                memoryBytes: max(
                    Int64(clamping: node.memory) << 10,
                    Int64(sysconf(Int32(_SC_PHYS_PAGES))) * Int64(sysconf(Int32(_SC_PAGESIZE)))),
                libvirtVersion: version(library),
                hypervisorVersion: version(emulator))
        }
    }

    public func domains() async throws(HypervisorError) -> [ObservedDomain] {
        try await connection.call { [node] connection in
            var list: UnsafeMutablePointer<virDomainPtr?>?
            let count = virConnectListAllDomains(connection, &list, 0)
            guard count >= 0, let list else { throw LibvirtConnection.lastError }
            defer {
                for index in 0..<Int(count) { if let raw = list[index] { virDomainFree(raw) } }
                free(list)
            }
            var found: [ObservedDomain] = []
            for index in 0..<Int(count) {
                guard let raw = list[index], virDomainRef(raw) == 0 else { throw LibvirtConnection.lastError }
                if let domain = try Self.observe(DomainHandle(owning: raw), by: node) { found.append(domain) }
            }
            return found
        }
    }

    /// `nil`: it is not ours, or it went away just now.
    private static func observe(
        _ domain: borrowing DomainHandle, by node: NodeID
    ) throws(HypervisorError) -> ObservedDomain? {
        guard let marks = try domain.marks(of: node) else { return nil }
        do throws(HypervisorError) {
            return ObservedDomain(
                instance: marks.instance, epoch: marks.epoch, powerCycle: marks.powerCycle, state: try domain.state(),
                startedAt: marks.startedAt, devices: marks.devices)
        } catch {
            if LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN) { return nil }
            throw error
        }
    }

    public func deviceOwners() async throws(HypervisorError) -> [DeviceOwner] {
        try await connection.call { [node] connection in
            var owners: [DeviceOwner] = []
            try Self.eachRunning(connection) { domain throws(HypervisorError) in
                if let owner = try Self.deviceOwner(domain, node) { owners.append(owner) }
            }
            return owners
        }
    }

    /// Every domain that runs, whosever it is.
    static func eachRunning(
        _ connection: OpaquePointer, _ body: (borrowing DomainHandle) throws(HypervisorError) -> Void
    ) throws(HypervisorError) {
        var list: UnsafeMutablePointer<virDomainPtr?>?
        let count = virConnectListAllDomains(connection, &list, VIR_CONNECT_LIST_DOMAINS_ACTIVE.rawValue)
        guard count >= 0, let list else { throw LibvirtConnection.lastError }
        defer {
            for index in 0..<Int(count) { if let raw = list[index] { virDomainFree(raw) } }
            free(list)
        }
        for index in 0..<Int(count) {
            guard let raw = list[index], virDomainRef(raw) == 0 else { throw LibvirtConnection.lastError }
            try body(DomainHandle(owning: raw))
        }
    }

    /// `nil`: it has no device, or went away just now. A domain that cannot be read is an error: what it has is not free.
    private static func deviceOwner(
        _ domain: borrowing DomainHandle, _ node: NodeID
    ) throws(HypervisorError) -> DeviceOwner? {
        guard let text = virDomainGetXMLDesc(domain.raw, 0) else {
            if LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN) { return nil }
            throw LibvirtConnection.lastError
        }
        defer { free(text) }
        guard let devices = DomainXML.passedDevices(in: String(cString: text)) else {
            throw .refused(code: 0, message: "libvirt describes a domain in a way that cannot be read")
        }
        guard !devices.isEmpty else { return nil }
        if let marks = try domain.marks(of: node) {
            return DeviceOwner(.instance(marks.instance, marks.epoch), devices)
        }
        let name = virDomainGetName(domain.raw).map { String(cString: $0) } ?? "without a name"
        return DeviceOwner(.stranger(name), devices)
    }

    public func statistics() async throws(HypervisorError) -> [DomainStatistics] {
        try await connection.call { [node] connection in
            var records: UnsafeMutablePointer<virDomainStatsRecordPtr?>?
            let groups =
                VIR_DOMAIN_STATS_CPU_TOTAL.rawValue | VIR_DOMAIN_STATS_BALLOON.rawValue
                | VIR_DOMAIN_STATS_INTERFACE.rawValue | VIR_DOMAIN_STATS_BLOCK.rawValue
            let flags =
                VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE.rawValue | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT.rawValue
            let count = virConnectGetAllDomainStats(connection, groups, &records, flags)
            guard count >= 0, let records else { throw LibvirtConnection.lastError }
            defer { virDomainStatsRecordListFree(records) }
            return try (0..<Int(count)).compactMap { index in
                try records[index].flatMap { try Self.statistics(of: $0.pointee, by: node) }
            }
        }
    }

    // MARK: Doing

    public func start(_ domain: DomainSpecification) async throws(HypervisorError) {
        try await connection.call { [node] connection in
            var domain = domain
            // Nearly every guest is ordinary, and asks nothing of its host.
            if domain.hardware != .ordinary {
                domain.hardware = try HostOffer(
                    domain.hardware, domain.accelerator, emulator: domain.emulator, on: connection
                ).settle(domain.hardware, vcpus: domain.vcpus)
            }
            let xml = DomainXML.document(domain, node: node)
            if let existing = try DomainHandle("\(domain.instance)", on: connection) {
                guard try existing.marks(of: node) != nil else { throw HypervisorError.foreignDomain(domain.instance) }
                switch try existing.state() {
                case .running, .paused: throw HypervisorError.domainRuns(domain.instance)
                case .shutOff: break
                }
            }
            guard let raw = virDomainDefineXML(connection, xml) else { throw LibvirtConnection.lastError }
            let defined = DomainHandle(owning: raw)
            guard virDomainCreate(defined.raw) == 0 else { throw LibvirtConnection.lastError }
        }
    }

    public func requestShutdown(_ instance: InstanceID) async throws(HypervisorError) {
        try await connection.call { [node] connection in
            guard let domain = try Self.ours(instance, node, connection) else {
                throw HypervisorError.noSuchDomain(instance)
            }
            guard virDomainShutdownFlags(domain.raw, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN.rawValue) == 0 else {
                // It stopped by itself meanwhile: just what was wanted.
                if LibvirtConnection.isLastError(VIR_ERR_OPERATION_INVALID) { return }
                throw LibvirtConnection.lastError
            }
        }
    }

    public func powerOff(_ instance: InstanceID) async throws(HypervisorError) {
        try await connection.call { [node] connection in
            guard let domain = try Self.ours(instance, node, connection) else { return }
            try Self.destroy(domain)
        }
    }

    public func remove(_ instance: InstanceID) async throws(HypervisorError) {
        try await connection.call { [node] connection in
            guard let domain = try Self.ours(instance, node, connection) else { return }
            try Self.destroy(domain)
            // Whatever somebody hung on the domain with virsh goes with it.
            let flags =
                VIR_DOMAIN_UNDEFINE_MANAGED_SAVE.rawValue | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA.rawValue
                | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA.rawValue
                // The variables of its UEFI lie in the instance's folder, and stay as its disk does.
                | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM.rawValue
            guard virDomainUndefineFlags(domain.raw, flags) == 0 else {
                if LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN) { return }
                throw LibvirtConnection.lastError
            }
        }
    }

    /// The instance's domain; `nil`: there is none of ours.
    private static func ours(
        _ instance: InstanceID, _ node: NodeID, _ connection: OpaquePointer
    ) throws(HypervisorError) -> DomainHandle? {
        guard let domain = try DomainHandle("\(instance)", on: connection), try domain.marks(of: node) != nil else {
            return nil
        }
        return domain
    }

    private static func destroy(_ domain: borrowing DomainHandle) throws(HypervisorError) {
        guard virDomainDestroy(domain.raw) == 0 else {
            if LibvirtConnection.isLastError(VIR_ERR_OPERATION_INVALID)
                || LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN)
            {
                return
            }
            throw LibvirtConnection.lastError
        }
    }

    // MARK: Reading

    /// `nil`: not ours, or not all of it was told, as of a domain whose QEMU is busy. Counters that are left out would
    /// read as begun anew, and count everything twice at the next look (P4).
    private static func statistics(
        of record: virDomainStatsRecord, by node: NodeID
    ) throws(HypervisorError) -> DomainStatistics? {
        guard let domain = record.dom, virDomainRef(domain) == 0 else { return nil }
        guard let marks = try DomainHandle(owning: domain).marks(of: node) else { return nil }
        let values = DomainCounters(record.params, count: record.nparams)
        guard let cpuTime = values["cpu.time"], let read = values.sum("block", "rd.bytes"),
            let written = values.sum("block", "wr.bytes"), let received = values.sum("net", "rx.bytes"),
            let transmitted = values.sum("net", "tx.bytes")
        else { return nil }
        var result = DomainStatistics(
            instance: marks.instance, powerCycle: marks.powerCycle, startedAt: marks.startedAt, vcpus: marks.vcpus,
            memoryBytes: marks.memoryBytes)
        result.cpuTimeNanoseconds = cpuTime
        result.memoryResidentBytes = (values["balloon.rss"] ?? 0) << 10
        result.diskReadBytes = read
        result.diskWriteBytes = written
        result.diskAllocatedBytes = values["block.0.physical"] ?? 0
        result.networkReceiveBytes = received
        result.networkTransmitBytes = transmitted
        return result
    }

    private static func processorModel() -> String? {
        guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8) else { return nil }
        return text.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }
}
