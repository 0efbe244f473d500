import Foundation
import Glibc
import Logging
import ProcessFiles
import ProcessThreads
public import ProtocolModel
import ProtocolTransfer
import Synchronization

/// What the disks of a host's guests depend on.
public struct HostDisks: Sendable, Equatable {
    /// Absolute paths of raw images that disks are made on top of.
    public var bases: Set<String>
    /// Guests whose disks depend on no image.
    public var independent: Set<InstanceID>

    public init(bases: Set<String> = [], independent: Set<InstanceID> = []) {
        self.bases = bases
        self.independent = independent
    }
}

/// Room on the disk: who leaves when it is needed.
extension ImageCache {
    /// Makes room for bytes of an image that are to come.
    ///
    /// - Parameter diskIsFull: the disk has said so, whatever it says of its free space.
    /// - Throws: `noRoom`, and nothing was evicted.
    func makeRoom(for image: ImageID, _ bytes: Int64, diskIsFull: Bool) throws(ImageCacheError) {
        // What an eviction frees may be less than the file took, where other files share its blocks: looked at again.
        for _ in 0..<4 {
            let (entries, space, known) = try survey(diskIsFull: diskIsFull)
            let isCounted = entries.contains { $0.image == image && $0.outstandingBytes > 0 }
            let decision = EvictionPlan.decide(entries, space, needed: isCounted ? 0 : bytes, onlyIfEnough: true)
            guard decision.shortfall == 0 else {
                throw .noRoom(
                    neededBytes: bytes, missingBytes: decision.shortfall,
                    heldBack: entries.count { $0.hold == .pinned || $0.hold == .inUse })
            }
            guard !decision.victims.isEmpty else { return }
            evict(decision.victims, knowing: known, reason: "its room was needed for image \(image)")
            if diskIsFull { return }
        }
    }

    /// Gives back what others need of the disk, as far as that is possible; to be called now and then.
    public func keepFreeSpace() {
        guard let (entries, space, known) = try? survey(diskIsFull: false) else { return }
        // What is still to come has asked for its own room.
        let settled = entries.map { entry in
            var entry = entry
            entry.outstandingBytes = 0
            return entry
        }
        let decision = EvictionPlan.decide(settled, space, onlyIfEnough: false)
        if !decision.victims.isEmpty {
            evict(decision.victims, knowing: known, reason: "the disk was running out of space")
        }
    }

    private func survey(
        diskIsFull: Bool
    ) throws(ImageCacheError) -> (entries: [EvictionPlan.Entry], space: EvictionPlan.Space, known: HostDisks) {
        let known = knownDisks()
        let (images, inUse, assignments, receiving) = state.withLock { state in
            (
                state.images, state.imagesOfGuests(but: known?.independent ?? []), state.assignments,
                Set(state.fetches.keys).union(state.waiting)
            )
        }
        let entries = images.map { image, cached -> EvictionPlan.Entry in
            let size = cached.size
            let facts = cached.facts
            let hold: EvictionPlan.Hold? =
                if inUse.contains(image) || known.map({ isBase(cached, $0.bases) }) ?? true {
                    .inUse
                } else if assignments[image]?.pinned == true {
                    .pinned
                } else if receiving.contains(image) {
                    .receiving
                } else {
                    nil
                }
            return EvictionPlan.Entry(
                image: image, bytes: size.bytes, outstandingBytes: receiving.contains(image) ? size.outstanding : 0,
                lastUsed: max(facts.lastUsed ?? .distantPast, facts.heldSince ?? .distantPast),
                isAssigned: assignments[image] != nil, hold: hold)
        }
        var figures = statvfs()
        let folder = ImageFiles.folder(configuration.folder)
        guard statvfs(folder, &figures) == 0 else { throw .last(folder) }
        let free = diskIsFull ? 0 : Int64(clamping: UInt64(figures.f_bavail) * UInt64(figures.f_frsize))
        return (
            entries,
            EvictionPlan.Space(
                budgetBytes: configuration.budgetBytes, freeBytes: free, floorBytes: configuration.freeFloorBytes),
            known ?? HostDisks()
        )
    }

    /// `nil` where it cannot be told; then nothing leaves.
    func knownDisks() -> HostDisks? {
        do {
            return try disks()
        } catch {
            logger.error(
                "the disks of this host cannot be read, and so no image is evicted", metadata: ["reason": "\(error)"])
            return nil
        }
    }

    /// Whether a disk of this host is made on top of an image, or that cannot be told.
    func isUnderDisk(_ image: ImageID) -> Bool {
        guard let cached = state.withLock({ $0.images[image] }) else { return false }
        return knownDisks().map { isBase(cached, $0.bases) } ?? true
    }

    /// By name, or by what the name leads to: the cache's folder may have moved, with a link in its place.
    private func isBase(_ cached: CachedImage, _ bases: Set<String>) -> Bool {
        if bases.contains(cached.files.raw) { return true }
        let name = URL(fileURLWithPath: cached.files.raw).lastPathComponent
        return bases.contains { base in
            guard base.hasSuffix("/" + name) else { return false }
            var (first, second) = (stat(), stat())
            return stat(base, &first) == 0 && stat(cached.files.raw, &second) == 0
                && first.st_dev == second.st_dev && first.st_ino == second.st_ino
        }
    }

    private func evict(_ victims: [ImageID], knowing disks: HostDisks, reason: String) {
        for image in victims {
            // Looked at again under the lock: a guest may have been assigned meanwhile.
            let cached = state.withLock { state -> CachedImage? in
                guard !state.imagesOfGuests(but: disks.independent).contains(image),
                    state.assignments[image]?.pinned != true,
                    state.fetches[image] == nil, !state.waiting.contains(image)
                else { return nil }
                if state.assignments[image] != nil { state.evicted.insert(image) }
                return state.images.removeValue(forKey: image)
            }
            guard let cached else { continue }
            let bytes = cached.size.bytes
            cached.remove()
            if state.withLock({ $0.evicted.contains(image) }) {
                try? CacheFile.replace(cached.files.evicted, with: Array("\(image)\n".utf8))
            }
            logger.notice(
                "an image was evicted", metadata: ["image": "\(image)", "bytes": "\(bytes)", "reason": "\(reason)"])
            reports.yield(ImageStatusValue(image: image, state: .removed, reason: "evicted: \(reason)"))
        }
    }

    // MARK: Coming back

    /// Evicted images that are wanted anew are fetched like any other; the marks of those that nobody assigns go.
    func readmit(
        _ assignments: [ImageAssignmentValue], _ renewed: Set<ImageID>, _ disks: HostDisks?, _ state: inout State
    ) {
        let assigned = Dictionary(assignments.map { ($0.image, $0) }, uniquingKeysWith: { $1 })
        let inUse = state.imagesOfGuests(but: disks?.independent ?? [])
        for image in state.evicted {
            if let assignment = assigned[image], !assignment.pinned, !renewed.contains(image), !inUse.contains(image) {
                continue
            }
            state.evicted.remove(image)
            unlink(ImageFiles(cache: configuration.folder, image: image).evicted)
        }
    }

    /// Remembers what earlier lives evicted, and tells it again: the manager may not have heard.
    func openEvicted(_ folder: String, _ names: [String]) {
        for name in names where name.hasSuffix(".evicted") {
            guard let bytes = CacheFile.contents(folder + "/" + name, limit: 100),
                let image = ImageID(
                    String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)),
                ImageFiles.name(of: image) + ".evicted" == name
            else {
                unlink(folder + "/" + name)
                continue
            }
            state.withLock { state in
                if state.images[image] == nil { _ = state.evicted.insert(image) }
            }
            reports.yield(ImageStatusValue(image: image, state: .removed, reason: "evicted before the agent restarted"))
        }
    }

    // MARK: Chunks that are here already

    /// Takes over the chunks of a new image that complete ones hold.
    func reuseChunks(in target: CachedImage) {
        var wanted = target.wantedDigests()
        guard !wanted.isEmpty else { return }
        let others = state.withLock { $0.images.values.filter { $0 !== target } }
        var reused = 0
        for other in others where other.isComplete {
            guard let manifest = other.currentManifest else { continue }
            for index in 0..<manifest.chunkCount where !manifest.isZero(index) {
                if state.withLock({ $0.stopped }) { return }
                guard let places = wanted[manifest.chunkDigest(index)] else { continue }
                do throws(ImageCacheError) {
                    var left: [Int] = []
                    for place in places where try !target.take(place, from: other, index) { left.append(place) }
                    reused += places.count - left.count
                    wanted[manifest.chunkDigest(index)] = left.isEmpty ? nil : left
                } catch {
                    // It is fetched instead.
                    logger.debug(
                        "a chunk was not taken over", metadata: ["image": "\(target.image)", "reason": "\(error)"])
                    return
                }
            }
        }
        if reused > 0 {
            logger.info(
                "chunks were taken over from other images",
                metadata: ["image": "\(target.image)", "chunks": "\(reused)"])
        }
    }
}

extension ImageCache.State {
    func imagesOfGuests(but independent: Set<InstanceID>) -> Set<ImageID> {
        Set(guests.filter { !independent.contains($0.key) }.values)
    }
}

extension Timestamp {
    fileprivate static let distantPast = Timestamp(milliseconds: 0)
}
