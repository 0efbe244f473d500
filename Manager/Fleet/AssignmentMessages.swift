import Foundation
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import SwiftProtobuf

/// Turns the record into what one node is told.
struct AssignmentMessages {
    let sql: Transaction
    let node: NodeID
    let settings: LifecycleSettings
    /// Where the manager serves chunks: `host:port`, or `:port` for the host that the agent dialled.
    let managerChunkAddress: String

    /// The whole set, or what changed since `revision`; `nil` where nothing did, or the node is gone.
    func set(since revision: Revision?) throws -> Roost_V1_AssignmentSet? {
        guard let newest = try sql.nodes.assignmentRevision(of: node) else { return nil }
        if let revision, revision >= newest { return nil }
        let since = revision ?? Revision(0)
        var message = Roost_V1_AssignmentSet()
        message.revision = newest.value
        message.full = revision == nil
        message.baseRevision = since.value
        message.transferLimits = try limits()
        message.captures = try captures()
        let known = Known(sql)
        let host = try sql.nodes.find(node)
        let shared = host?.sharedCPUs
        for instance in try sql.instances.changed(on: node, since: since) {
            if instance.status != .deleted {
                var assignment = assignment(
                    of: instance, try known.image(instance.image), owner: try known.owner(instance.owner))
                assignment.devices = try devices(of: instance)
                if let host, instance.place != nil || shared != nil {
                    assignment.place = Self.place(instance.place, shared: shared, on: host)
                }
                message.instances.append(assignment)
            } else if revision != nil {
                message.removedInstances.append(instance.id.octets)
            }
        }
        for former in try sql.formerPlacements.changed(on: node, since: since) {
            if !former.isGone {
                message.instances.append(removal(of: former))
            } else if revision != nil {
                message.removedInstances.append(former.instance.octets)
            }
        }
        for placement in try sql.images.changedPlacements(on: node, since: since) {
            if placement.state == .removing {
                // Also in a full set: the agent may hold the file and answers once it is gone.
                message.removedImages.append(placement.image.octets)
            } else if let assignment = try assignment(of: placement) {
                message.images.append(assignment)
            }
        }
        return message
    }

    /// What instances have in common, looked up once for a set.
    private final class Known {
        private let sql: Transaction
        private var images: [ImageID: Image?] = [:]
        private var owners: [UserID: String?] = [:]

        init(_ sql: Transaction) { self.sql = sql }

        func image(_ id: ImageID) throws -> Image? {
            if let image = images[id] { return image }
            let image = try sql.images.find(id)
            images[id] = .some(image)
            return image
        }

        func owner(_ id: UserID) throws -> String? {
            if let name = owners[id] { return name }
            let name = try sql.users.name(of: id)
            owners[id] = .some(name)
            return name
        }
    }

    private func assignment(
        of instance: Instance, _ image: Image?, owner: String?
    ) -> Roost_V1_InstanceAssignment {
        .with {
            $0.instanceID = instance.id.octets
            $0.epoch = instance.epoch.value
            $0.generation = instance.generation.value
            $0.desired =
                switch instance.desired {
                case .running: .running
                case .stopped: .stopped
                case .deleted: .deleted
                }
            $0.powerCycle = instance.powerCycle.value
            $0.force = instance.force
            $0.name = instance.name
            $0.hostName = instance.hostName
            $0.vcpus = UInt32(clamping: instance.vcpus)
            $0.memoryBytes = UInt64(clamping: instance.ramMiB) << 20
            $0.diskBytes = UInt64(clamping: instance.diskGiB) << 30
            $0.imageID = instance.image.octets
            $0.macAddress = instance.macAddress ?? ""
            $0.ipAddress = instance.ipAddress ?? ""
            $0.sshKeys = instance.sshKeys
            $0.userData = .init(instance.userData)
            $0.metadata = instance.metadata
            $0.serviceURL = image?.properties["service_url"] ?? ""
            $0.readinessProbe = image?.properties["readiness"] != "none"
            $0.bootTimeoutSeconds = UInt32(clamping: settings.bootTimeoutSeconds)
            $0.stopTimeoutSeconds = instance.stopTimeoutSeconds.map { UInt32(clamping: $0) } ?? .max
            $0.owner = owner ?? ""
            $0.hardware = instance.hardware
            $0.restartsElsewhere = instance.onHostLoss == .restart
        }
    }

    /// What is left of an instance that was started elsewhere while this node was lost.
    private func removal(of former: FormerPlacement) -> Roost_V1_InstanceAssignment {
        .with {
            $0.instanceID = former.instance.octets
            $0.epoch = former.epoch.value
            $0.generation = former.generation.value
            $0.desired = .deleted
            $0.force = true
            $0.imageID = former.image.octets
            $0.ipAddress = former.address ?? ""
            $0.restartsElsewhere = true
        }
    }

    /// Where a guest lies; one that lies anywhere keeps off the processors that others have alone.
    private static func place(
        _ place: GuestPlace?, shared: ProcessorSet?, on node: Node
    ) -> Roost_V1_GuestPlace {
        let all = shared ?? node.inventory.topology?.processors ?? .none
        let cells = node.inventory.topology?.cells ?? []
        return .with {
            $0.sharedProcessors = shared.map { "\($0)" } ?? ""
            $0.sharesNone = shared?.isEmpty ?? false
            $0.pageBytes = UInt64(clamping: place?.pageKiB ?? 0) << 10
            $0.cells = (place?.cells ?? []).map { cell in
                .with {
                    $0.hostCell = UInt32(clamping: cell.host)
                    $0.vcpus = UInt32(clamping: cell.vcpus)
                    $0.memoryBytes = UInt64(clamping: cell.memoryMiB) << 20
                    $0.processors = cell.processors.map { UInt32(clamping: $0) }
                    guard cell.processors.isEmpty, let host = cells.first(where: { $0.number == cell.host }) else {
                        return
                    }
                    $0.sharedProcessors = "\(host.processors.intersection(all))"
                }
            }
        }
    }

    /// What the instance asked for; the host sees to what goes along.
    private func devices(of instance: Instance) throws -> [Roost_V1_AssignedDevice] {
        guard !instance.devices.isEmpty else { return [] }
        return try sql.devices.list(of: instance.id).compactMap { device in
            guard let alias = device.claim?.alias, !alias.isEmpty else { return nil }
            return .with {
                $0.address = device.facts.address
                $0.alias = alias
            }
        }
    }

    /// All images that the node is to make of disks.
    private func captures() throws -> Roost_V1_CaptureSet {
        let captures = try sql.imageCaptures.list(on: node)
        return .with {
            $0.captures = captures.map { capture in
                .with {
                    $0.imageID = capture.image.octets
                    $0.instanceID = capture.instance.octets
                }
            }
        }
    }

    /// What the node may move for images.
    private func limits() throws -> Roost_V1_TransferLimits {
        let site = try sql.siteSettings.transfers()
        let own = try (sql.nodes.transferLimits(of: node) ?? TransferLimits()).or(site.node)
        var limits = TransferLimitsValue(
            sendBytesPerSecond: own.sendBytesPerSecond, receiveBytesPerSecond: own.receiveBytesPerSecond,
            diskBytesPerSecond: own.diskBytesPerSecond, concurrentImages: own.concurrentImages,
            prefillSharePercent: site.prefillSharePercent)
        if let total = site.totalBytesPerSecond {
            let share = try sql.siteSettings.receiveShare() ?? total
            limits.receiveBytesPerSecond = min(limits.receiveBytesPerSecond ?? share, share)
        }
        return limits.message
    }

    private func assignment(of placement: ImagePlacement) throws -> Roost_V1_ImageAssignment? {
        guard let image = try sql.images.find(placement.image), let digest = image.manifestDigest,
            let size = image.sizeBytes
        else { return nil }
        // Nobody gives anything to a node that is disabled (SEC-07), so it need not ask.
        let isPaused = try placement.isPaused || !sql.nodes.isEnabled(node)
        // The upstream, and who stands in for it; only those who are told to serve this node.
        let upstreams = try ChainNeighbours.upstreams(of: node) {
            try sql.chains.upstream(of: $0, image: placement.image)
        }.compactMap { try sql.nodes.find($0) }
        let downstream = try ChainNeighbours.downstreams(of: node) {
            try sql.images.downstream(of: $0, image: placement.image)
        }.sorted().filter { try sql.nodes.isEnabled($0) }
        let isPinned = try sql.imageCopies.isPinned(image.id, on: node)
        let manager = try sql.managers.chunkAddress(of: image.id) ?? managerChunkAddress
        return .with {
            $0.imageID = image.id.octets
            $0.manifestDigest = .init(digest.bytes)
            $0.sizeBytes = UInt64(clamping: size)
            for upstream in upstreams where !upstream.inventory.chunkAddress.isEmpty {
                $0.sources.append(
                    .with {
                        $0.nodeID = upstream.id.octets
                        $0.address = upstream.inventory.chunkAddress
                    })
            }
            $0.sources.append(.with { $0.address = manager })
            $0.serveTo = downstream.map(\.octets)
            $0.pinned = isPinned
            $0.paused = isPaused
            $0.launch = placement.priority == .launch
        }
    }
}
