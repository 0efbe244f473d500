import ProtocolModel

/// Decides which images leave the cache. Pure: told what there is, what holds it, and what room is needed.
///
/// Nothing leaves without need (HLT-42), and nothing that a disk, a guest to come or a pin holds. Of the rest those that the
/// manager no longer assigns go first, then the least recently used.
enum EvictionPlan {
    /// Why an image stays whatever room is needed.
    enum Hold: Sendable, Equatable {
        case pinned
        /// A disk of this host is made on top of it, or a guest of this host is about to be.
        case inUse
        /// It is being received.
        case receiving
    }

    struct Entry: Sendable, Equatable {
        var image: ImageID
        /// On the disk now.
        var bytes: Int64
        /// Still to come; 0 where it is not being received.
        var outstandingBytes: Int64 = 0
        var lastUsed: Timestamp
        var isAssigned: Bool
        var hold: Hold?
    }

    struct Space: Sendable, Equatable {
        /// What all images together may take; `nil`: no limit of their own.
        var budgetBytes: Int64?
        var freeBytes: Int64
        /// Free bytes that are to be left for others.
        var floorBytes: Int64
    }

    struct Decision: Sendable, Equatable {
        /// In the order in which they go.
        var victims: [ImageID]
        /// What is missing even then; 0: it fits.
        var shortfall: Int64
    }

    /// Makes room.
    ///
    /// - Parameters:
    ///   - needed: bytes beyond what the entries take and await.
    ///   - onlyIfEnough: evict nothing where it would not be enough: an image that cannot come is no reason for others to go.
    static func decide(
        _ entries: [Entry], _ space: Space, needed: Int64 = 0, onlyIfEnough: Bool
    ) -> Decision {
        let held = entries.reduce(0) { saturating($0, $1.bytes) }
        let outstanding = entries.reduce(0) { saturating($0, $1.outstandingBytes) }
        let wanted = saturating(outstanding, needed)
        var missing = max(0, saturating(wanted, space.floorBytes) - space.freeBytes)
        if let budget = space.budgetBytes { missing = max(missing, saturating(held, wanted) - budget) }
        var victims: [ImageID] = []
        for entry in entries.filter({ $0.hold == nil && $0.bytes > 0 }).sorted(by: goesBefore) where missing > 0 {
            victims.append(entry.image)
            missing -= entry.bytes
        }
        missing = max(0, missing)
        if missing > 0, onlyIfEnough { victims = [] }
        return Decision(victims: victims, shortfall: missing)
    }

    private static func goesBefore(_ left: Entry, _ right: Entry) -> Bool {
        if left.isAssigned != right.isAssigned { return !left.isAssigned }
        return (left.lastUsed, left.image) < (right.lastUsed, right.image)
    }

    private static func saturating(_ left: Int64, _ right: Int64) -> Int64 {
        let (sum, overflow) = left.addingReportingOverflow(max(0, right))
        return overflow ? .max : sum
    }
}
