import ManagerModel
import ManagerStore
import ProtocolModel

/// Nodes as a superuser sees them.
enum NodeResource {
    static let device = ObjectSchema.answer(
        "PCIDevice",
        [
            ("address", .text), ("vendor", .text), ("product", .text), ("class", .text),
            ("iommu_group", .nullable(.integer(-1...Int64.max))), ("numa_node", .nullable(.integer(-1...Int64.max))),
            ("driver", .text),
        ])
    static let pages = ObjectSchema.answer(
        "NodeHugePages", [("size_kib", .count), ("total", .count), ("free", .count)])
    static let cell = ObjectSchema.answer(
        "NodeNUMANode",
        [
            ("number", .count), ("memory_mib", .count), ("cpus", .text), ("dedicated_cpus_free", .text),
            ("huge_pages", .array(.object(pages), maximum: 16)),
        ])
    static let image = ObjectSchema.answer(
        "NodeImage", [("image", .text), ("state", .text), ("chunks_held", .count), ("chunks_total", .count)])
    static let drain = ObjectSchema.answer(
        "NodeDrain", [("state", .choice(Node.DrainState.allCases.map(\.rawValue))), ("reason", .text)])

    /// The last run of the site's fencing command.
    static let fencing = ObjectSchema.answer(
        "NodeFencing",
        [("attempts", .count), ("began_at", .time), ("ended_at", .nullable(.time)), ("outcome", .text)])
    /// A node that is not heard of any more, and how many of its instances that are to run wait for what.
    static let loss = ObjectSchema.answer(
        "NodeLoss",
        [
            ("since", .time), ("certain", .nullable(.choice(HostLoss.Proof.allCases.map(\.rawValue)))),
            ("certain_at", .nullable(.time)), ("detail", .text), ("staying", .count), ("restarting", .count),
            ("fencing", .nullable(.object(fencing))),
        ])

    private static let common: [(String, Schema)] = [
        ("id", .identifier), ("name", .text), ("enabled", .boolean),
        ("alive", .choice(Node.Liveness.allCases.map(\.rawValue))), ("last_seen_at", .nullable(.time)),
        ("lost", .nullable(.object(loss))),
        ("reason", .text),
        ("address", .text), ("software_version", .text), ("instances", .count),
        ("addresses", .array(.text, maximum: 100_000)), ("cpu_model", .text), ("architecture", .text),
        ("vcpus", .count),
        ("vcpus_used", .count), ("ram_mib", .count), ("ram_used_mib", .count), ("disk_gib", .count),
        ("disk_used_gib", .count),
        ("cpu_allocation_ratio", .amount), ("ram_allocation_ratio", .amount), ("disk_allocation_ratio", .amount),
        ("own_ratios", .array(.text, maximum: 3)), ("opportunistic", .boolean), ("dedicated_cpus", .nullable(.text)),
        ("accelerator", .text), ("accelerator_reason", .text), ("libvirt_version", .text),
        ("hypervisor_version", .text),
        ("kernel_version", .text), ("boot_id", .text), ("guest_subnet", .text), ("location", .text),
        ("joined_at", .time), ("cache_budget_bytes", .nullable(.count)),
        ("drain", .object(drain)), ("disabled_by", .nullable(.text)), ("until", .nullable(.time)),
        ("left_at", .nullable(.time)), ("availability", .nullable(.object(AvailabilityResource.schema))),
    ]

    /// In lists, without what is long.
    static let item = ObjectSchema.answer("NodeItem", common)
    static let schema = ObjectSchema.answer(
        "Node",
        common + [
            ("pci_devices", .array(.object(device), maximum: 10_000)),
            ("numa_nodes", .array(.object(cell), maximum: 64)),
            ("images", .array(.object(image), maximum: 100_000)), ("transfer", .object(TransferResource.limits)),
        ])

    /// What the aggregates of some nodes say to placement.
    struct Rules {
        private let rules: [NodeID: [AggregateRules]]

        init(of nodes: [Node], in transaction: Transaction) throws {
            let aggregates = try transaction.aggregates.list()
            guard !aggregates.isEmpty else {
                rules = [:]
                return
            }
            let byID = Dictionary(aggregates.map { ($0.id, AggregateRules($0.metadata)) }) { first, _ in first }
            rules = try transaction.aggregates.memberships().mapValues { $0.compactMap { byID[$0] } }
        }

        func ratios(of node: Node) -> AllocationRatios { AllocationRatios(of: node, in: rules[node.id] ?? []) }
    }

    /// - Parameter addresses: those of each node's instances.
    static func item(
        _ node: Node, addresses: [NodeID: [String]], ratios: AllocationRatios, lost: LossCounts
    ) -> JSONValue {
        .object(members(node, addresses: addresses[node.id] ?? [], ratios: ratios, lost: lost[node.id] ?? [:]))
    }

    /// How many instances of lost nodes wait for what.
    typealias LossCounts = [NodeID: [HostLossPolicy: Int]]

    static func lossCounts(of nodes: [Node], in transaction: Transaction) throws -> LossCounts {
        let lost = nodes.filter { $0.loss != nil }
        var counts = try transaction.instances.countsByHostLoss(on: lost.map(\.id))
        // Where the agent does not know of the policy, nothing leaves.
        for node in lost where node.inventory.heedsRestartsElsewhere != true {
            counts[node.id] = [.keep: counts[node.id, default: [:]].values.reduce(0, +)]
        }
        return counts
    }

    private static func encode(_ loss: HostLoss, _ counts: [HostLossPolicy: Int]) -> JSONValue {
        [
            "since": .text(loss.since),
            "certain": loss.certainty.map { .string($0.proof.rawValue) } ?? .null,
            "certain_at": .text(loss.certainty?.at),
            "detail": .string(loss.certainty?.sentence ?? "it may still run its guests"),
            "staying": .count(counts[.keep] ?? 0), "restarting": .count(counts[.restart] ?? 0),
            "fencing": loss.fencing.map {
                [
                    "attempts": .count($0.attempts), "began_at": .text($0.beganAt), "ended_at": .text($0.endedAt),
                    "outcome": .string($0.outcome),
                ]
            } ?? .null,
        ]
    }

    static func encode(_ node: Node, _ names: Names, in transaction: Transaction) throws -> JSONValue {
        let images = try transaction.images.placements(on: node.id).map { placement -> JSONValue in
            [
                "image": .string(try names.image(placement.image)), "state": .string(placement.state.rawValue),
                "chunks_held": .count(placement.chunksHeld), "chunks_total": .count(placement.chunksTotal),
            ]
        }
        return .object(
            members(
                node, addresses: Array(try transaction.instances.addresses(on: node.id)),
                ratios: AllocationRatios(
                    of: node, in: try transaction.aggregates.aggregates(of: node.id).map { AggregateRules($0.metadata) }
                ), lost: try lossCounts(of: [node], in: transaction)[node.id] ?? [:]
            ) + [
                .init("pci_devices", .array(node.inventory.pciDevices.map(encode))),
                .init("numa_nodes", .array(cells(of: node))), .init("images", .array(images)),
                .init("transfer", TransferResource.encode(node.transferLimits)),
            ])
    }

    private static func members(
        _ node: Node, addresses: [String], ratios: AllocationRatios, lost: [HostLossPolicy: Int]
    ) -> [JSONValue.Member] {
        let inventory = node.inventory
        let gibibyte: Int64 = 1 << 30
        let value: JSONValue = [
            "id": .text(node.id), "name": .string(node.name), "enabled": .boolean(node.enabled),
            "alive": .string(node.liveness.rawValue), "last_seen_at": .text(node.lastSeenAt),
            "lost": node.loss.map { encode($0, lost) } ?? .null,
            "reason": .string(node.disabledReason), "address": .string(node.remoteAddress),
            "software_version": .string(node.softwareVersion), "instances": .count(node.instanceCount),
            "addresses": .texts(addresses.sorted()),
            "cpu_model": .string(inventory.cpuModel), "architecture": .string(inventory.architecture),
            "vcpus": .count(inventory.cpuCount), "vcpus_used": .count(node.claimedVCPUs),
            "ram_mib": .count(inventory.memoryBytes >> 20), "ram_used_mib": .count(node.claimedRAMMiB),
            "disk_gib": .count(inventory.diskBytes / gibibyte), "disk_used_gib": .count(node.claimedDiskGiB),
            "cpu_allocation_ratio": .decimal(ratios.cpu), "ram_allocation_ratio": .decimal(ratios.ram),
            "disk_allocation_ratio": .decimal(ratios.disk), "own_ratios": .texts(ownRatios(of: node)),
            "opportunistic": .boolean(node.isOpportunistic),
            "dedicated_cpus": .text(node.dedicatedCPUs), "accelerator": .string(inventory.accelerator),
            "accelerator_reason": .string(inventory.acceleratorReason),
            "libvirt_version": .string(inventory.libvirtVersion),
            "hypervisor_version": .string(inventory.hypervisorVersion),
            "kernel_version": .string(inventory.kernelVersion), "boot_id": .string(node.bootID),
            "guest_subnet": .string(inventory.guestSubnet), "location": .string(node.location),
            "joined_at": .text(node.joinedAt), "cache_budget_bytes": .count(inventory.cacheBudgetBytes),
            "drain": ["state": .string(node.drainState.rawValue), "reason": .string(node.drainReason)],
            "disabled_by": .text(node.disabledBy),
            "until": .text(node.hostHold == nil ? node.hold?.until : nil), "left_at": .text(node.hostHold?.since),
            "availability": AvailabilityResource.encode(node.availability),
        ]
        return value.members ?? []
    }

    /// Those that do not follow its aggregates.
    private static func ownRatios(of node: Node) -> [String] {
        [("cpu", node.cpuAllocationRatio), ("ram", node.ramAllocationRatio), ("disk", node.diskAllocationRatio)]
            .compactMap { $0.1 == nil ? nil : $0.0 }
    }

    /// Empty where its agent does not say.
    private static func cells(of node: Node) -> [JSONValue] {
        let taken = ProcessorSet(node.places.values.flatMap { $0.cells.flatMap(\.processors) })
        let free = (node.dedicatedCPUs ?? .none).subtracting(taken)
        return (node.inventory.topology?.cells ?? []).map { cell in
            let pages = cell.pages.map { pages -> JSONValue in
                let used = node.places.values.filter { $0.pageKiB == pages.sizeKiB }.flatMap(\.cells)
                    .filter { $0.host == cell.number }.reduce(0) { $0 + $1.memoryMiB * 1024 / pages.sizeKiB }
                return [
                    "size_kib": .count(pages.sizeKiB), "total": .count(pages.total),
                    "free": .count(max(0, pages.total - used)),
                ]
            }
            return [
                "number": .count(cell.number), "memory_mib": .count(cell.memoryMiB),
                "cpus": .string("\(cell.processors)"),
                "dedicated_cpus_free": .string("\(cell.processors.intersection(free))"), "huge_pages": .array(pages),
            ]
        }
    }

    private static func encode(_ device: PCIDevice) -> JSONValue {
        [
            "address": .string(device.address), "vendor": .string(PCIDevice.digits(device.vendor, 4)),
            "product": .string(PCIDevice.digits(device.product, 4)),
            "class": .string(PCIDevice.digits(device.classCode, 6)),
            "iommu_group": .count(device.iommuGroup), "numa_node": .count(device.numaNode),
            "driver": .string(device.driver),
        ]
    }
}
