import AgentLink
import ManagerModel
import ManagerStore
import ProtocolModel
import ProtocolTransfer
import SimulatorWorld

/// Pulls images to one host, chunk by chunk, from the sources that the manager names, and serves them on.
final class ImageFetcher {
    weak var agent: SimulatedAgent?
    private let machine: Machine
    private let site: Site
    private var assignments: [ImageID: ImageAssignmentValue] = [:]
    private var fetching: Set<ImageID> = []

    init(machine: Machine, site: Site) {
        self.machine = machine
        self.site = site
    }

    static func holds(_ image: ImageID, _ machine: Machine) -> Bool {
        machine.images[image]?.chunks.isComplete ?? false
    }

    func holds(_ image: ImageID) -> Bool { Self.holds(image, machine) }

    func status(of image: ImageID, _ state: ImageStatusValue.State, _ reason: String = "") -> ImageStatusValue {
        ImageStatusValue(
            image: image, state: state, chunksHeld: machine.images[image]?.chunks.heldCount ?? 0,
            chunksTotal: machine.images[image]?.chunks.count ?? 0, reason: reason)
    }

    /// All images that are to be held.
    func apply(_ wanted: [ImageAssignmentValue]) {
        assignments = Dictionary(wanted.map { ($0.image, $0) }, uniquingKeysWith: { $1 })
        for image in assignments.keys.sorted()
        where !holds(image) && assignments[image]?.isPaused == false && fetching.insert(image).inserted {
            fetch(image, attempt: 0)
        }
    }

    func remove(_ image: ImageID) {
        assignments[image] = nil
        machine.images[image] = nil
        agent?.handle(.image(status(of: image, .removed)))
    }

    /// Bytes for another host, where they are verified here and the manager lets it have them.
    func bytes(of image: ImageID, for node: NodeID) -> [UInt8]? {
        guard holds(image), assignments[image]?.serveTo.contains(node) == true else { return nil }
        return machine.images[image]?.bytes
    }

    // MARK: Fetching

    private func fetch(_ image: ImageID, attempt: Int) {
        agent?.after(site.world.random.time(.milliseconds(100)...(.seconds(1)))) { [weak self] _ in
            guard let self else { return }
            guard let assignment = self.assignments[image], !assignment.isPaused, !self.holds(image) else {
                self.fetching.remove(image)
                return
            }
            let source = assignment.sources[attempt % assignment.sources.count]
            if let bytes = self.pull(assignment, source), let manifest = self.site.manifests[image],
                manifest.digest == assignment.manifestDigest, self.keep(bytes, manifest)
            {
                self.fetching.remove(image)
                self.agent?.handle(.image(self.status(of: image, .held)))
            } else {
                if attempt == 2 {
                    self.agent?.handle(.image(self.status(of: image, .failed, "no source has it yet")))
                }
                self.agent?.after(self.site.world.random.time(.milliseconds(500)...(.seconds(3)))) { _ in
                    self.fetch(image, attempt: attempt + 1)
                }
            }
        }
    }

    private func pull(_ assignment: ImageAssignmentValue, _ source: ChunkSource) -> [UInt8]? {
        guard let node = machine.identity?.node else { return nil }
        var bytes: [UInt8]?
        if let other = source.node {
            guard let upstream = site.machines.first(where: { $0.identity?.node == other }),
                site.network.passes(.host(machine.index), .host(upstream.index)),
                site.network.passes(.host(upstream.index), .host(machine.index))
            else { return nil }
            bytes = site.agents[upstream.index]?.images.bytes(of: assignment.image, for: node)
        } else {
            guard let manager = site.manager(at: source.address),
                site.network.passes(.host(machine.index), manager.place),
                site.network.passes(manager.place, .host(machine.index)), manager.process?.isStopped == false,
                site.record.isReachable(from: manager),
                let placement = try? site.store.read({ try $0.images.placement(of: assignment.image, on: node) }),
                placement.state != .removing
            else { return nil }
            bytes = site.evidence.imageBytes[assignment.image]
        }
        // A cable, a disk or an enemy changed a bit on the way.
        if site.world.random.chance(site.badChunks), let length = bytes?.count, length > 0 {
            bytes?[site.world.random.below(length)] ^= 1
        }
        return bytes
    }

    /// Keeps a chunk that is what the manifest says (P7).
    private func keep(_ bytes: [UInt8], _ manifest: Manifest) -> Bool {
        let last = manifest.chunkCount - 1
        guard site.planted == .chunkNotVerified || manifest.verifies(bytes, index: last) else { return false }
        var image = Machine.StoredImage(manifest: manifest)
        for index in 0...last where index == last || manifest.isZero(index) { image.chunks.insert(index) }
        image.bytes = bytes
        machine.images[manifest.image] = image
        return true
    }
}
