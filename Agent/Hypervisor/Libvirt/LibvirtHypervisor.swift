import CLibvirt
import Foundation
public import ProtocolModel
import Synchronization

/// Guests by libvirt. Domains are defined while they are powered on, so that the reason of a stop outlives both this
/// process and the domain; powering off for good removes the definition (CTL-03).
public final class LibvirtHypervisor: Hypervisor {
    public let events: AsyncStream<DomainEvent>
    let connection: LibvirtConnection
    private let continuation: AsyncStream<DomainEvent>.Continuation

    /// - Parameter uri: such as `qemu:///system`.
    public init(uri: String) {
        let (events, continuation) = AsyncStream.makeStream(
            of: DomainEvent.self, bufferingPolicy: .bufferingOldest(4096))
        self.events = events
        self.continuation = continuation
        connection = LibvirtConnection(uri: uri) { Self.listen(on: $0, continuation) }
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
        try await connection.call { connection in
            var list: UnsafeMutablePointer<virDomainPtr?>?
            let count = virConnectListAllDomains(connection, &list, 0)
            guard count >= 0, let list else { throw LibvirtConnection.lastError }
            defer { free(list) }
            var found: [ObservedDomain] = []
            for index in 0..<Int(count) {
                guard let raw = list[index] else { continue }
                let domain = DomainHandle(owning: raw)
                guard let marks = domain.marks else { continue }
                // A domain that went away between the two calls is simply not there.
                guard let state = try? domain.state() else { continue }
                found.append(
                    ObservedDomain(
                        instance: marks.instance, epoch: marks.epoch, powerCycle: marks.powerCycle, state: state,
                        startedAt: marks.startedAt))
            }
            return found
        }
    }

    public func statistics() async throws(HypervisorError) -> [DomainStatistics] {
        try await connection.call { connection in
            var records: UnsafeMutablePointer<virDomainStatsRecordPtr?>?
            let groups =
                VIR_DOMAIN_STATS_CPU_TOTAL.rawValue | VIR_DOMAIN_STATS_BALLOON.rawValue
                | VIR_DOMAIN_STATS_INTERFACE.rawValue | VIR_DOMAIN_STATS_BLOCK.rawValue
            let flags =
                VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING.rawValue | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT.rawValue
            let count = virConnectGetAllDomainStats(connection, groups, &records, flags)
            guard count >= 0, let records else { throw LibvirtConnection.lastError }
            defer { virDomainStatsRecordListFree(records) }
            return (0..<Int(count)).compactMap { records[$0].flatMap { Self.statistics(of: $0.pointee) } }
        }
    }

    // MARK: Doing

    public func start(_ domain: DomainSpecification) async throws(HypervisorError) {
        let xml = DomainXML.document(domain)
        try await connection.call { connection in
            if let existing = try DomainHandle("\(domain.instance)", on: connection) {
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
        try await connection.call { connection in
            guard let domain = try DomainHandle("\(instance)", on: connection), domain.marks != nil else {
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
        try await connection.call { connection in
            guard let domain = try DomainHandle("\(instance)", on: connection), domain.marks != nil else { return }
            try Self.destroy(domain)
        }
    }

    public func remove(_ instance: InstanceID) async throws(HypervisorError) {
        try await connection.call { connection in
            guard let domain = try DomainHandle("\(instance)", on: connection), domain.marks != nil else { return }
            try Self.destroy(domain)
            guard virDomainUndefineFlags(domain.raw, VIR_DOMAIN_UNDEFINE_MANAGED_SAVE.rawValue) == 0 else {
                if LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN) { return }
                throw LibvirtConnection.lastError
            }
        }
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

    // MARK: Events

    private final class Listener {
        let continuation: AsyncStream<DomainEvent>.Continuation
        init(_ continuation: AsyncStream<DomainEvent>.Continuation) { self.continuation = continuation }
    }

    private static func listen(on connection: OpaquePointer, _ continuation: AsyncStream<DomainEvent>.Continuation) {
        let freed: virFreeCallback = { opaque in
            if let opaque { Unmanaged<Listener>.fromOpaque(opaque).release() }
        }
        let lifecycle: virConnectDomainEventCallback = { _, domain, event, detail, opaque in
            guard let domain, let opaque else { return 0 }
            let listener = Unmanaged<Listener>.fromOpaque(opaque).takeUnretainedValue()
            if let event = LibvirtHypervisor.event(of: domain, event, detail) { listener.continuation.yield(event) }
            return 0
        }
        virConnectDomainEventRegisterAny(
            connection, nil, Int32(VIR_DOMAIN_EVENT_ID_LIFECYCLE.rawValue),
            unsafeBitCast(lifecycle, to: virConnectDomainEventGenericCallback.self),
            Unmanaged.passRetained(Listener(continuation)).toOpaque(), freed)
        virConnectRegisterCloseCallback(
            connection,
            { _, _, opaque in
                guard let opaque else { return }
                Unmanaged<Listener>.fromOpaque(opaque).takeUnretainedValue().continuation.yield(.connectionLost)
            }, Unmanaged.passRetained(Listener(continuation)).toOpaque(), freed)
        continuation.yield(.connectionRestored)
    }

    private static func event(of domain: OpaquePointer, _ event: Int32, _ detail: Int32) -> DomainEvent? {
        // The name says whose it is; its marks may be gone with an undefined domain.
        guard let name = virDomainGetName(domain).map({ String(cString: $0) }), name.hasPrefix("roost-"),
            let instance = InstanceID(name.dropFirst("roost-".count))
        else { return nil }
        switch UInt32(bitPattern: event) {
        case VIR_DOMAIN_EVENT_STARTED.rawValue: return .started(instance)
        case VIR_DOMAIN_EVENT_STOPPED.rawValue:
            switch UInt32(bitPattern: detail) {
            case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN.rawValue: return .stopped(instance, .guestShutdown)
            case VIR_DOMAIN_EVENT_STOPPED_CRASHED.rawValue: return .stopped(instance, .crashed)
            case VIR_DOMAIN_EVENT_STOPPED_DESTROYED.rawValue: return .stopped(instance, .destroyed)
            case VIR_DOMAIN_EVENT_STOPPED_FAILED.rawValue: return .stopped(instance, .failed)
            default: return .stopped(instance, .unknown)
            }
        case VIR_DOMAIN_EVENT_CRASHED.rawValue: return .stopped(instance, .crashed)
        default: return nil
        }
    }

    // MARK: Reading

    private static func statistics(of record: virDomainStatsRecord) -> DomainStatistics? {
        guard let domain = record.dom, virDomainRef(domain) == 0 else { return nil }
        let handle = DomainHandle(owning: domain)
        guard let marks = handle.marks else { return nil }
        var values: [String: UInt64] = [:]
        for index in 0..<Int(record.nparams) {
            let parameter = record.params[index]
            let name = withUnsafeBytes(of: parameter.field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            switch UInt32(bitPattern: parameter.type) {
            case VIR_TYPED_PARAM_ULLONG.rawValue: values[name] = parameter.value.ul
            case VIR_TYPED_PARAM_LLONG.rawValue: values[name] = UInt64(clamping: parameter.value.l)
            case VIR_TYPED_PARAM_UINT.rawValue: values[name] = UInt64(parameter.value.ui)
            case VIR_TYPED_PARAM_INT.rawValue: values[name] = UInt64(clamping: parameter.value.i)
            default: continue
            }
        }
        func sum(_ group: String, _ suffix: String) -> UInt64 {
            (0..<min(values["\(group).count"] ?? 0, 64)).reduce(0) { $0 &+ (values["\(group).\($1).\(suffix)"] ?? 0) }
        }
        var result = DomainStatistics(
            instance: marks.instance, powerCycle: marks.powerCycle, startedAt: marks.startedAt, vcpus: marks.vcpus,
            memoryBytes: marks.memoryBytes)
        result.cpuTimeNanoseconds = values["cpu.time"] ?? 0
        result.memoryResidentBytes = (values["balloon.rss"] ?? 0) << 10
        result.diskReadBytes = sum("block", "rd.bytes")
        result.diskWriteBytes = sum("block", "wr.bytes")
        result.diskAllocatedBytes = sum("block", "allocation")
        result.networkReceiveBytes = sum("net", "rx.bytes")
        result.networkTransmitBytes = sum("net", "tx.bytes")
        return result
    }

    private static func processorModel() -> String? {
        guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8) else { return nil }
        return text.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }
}
