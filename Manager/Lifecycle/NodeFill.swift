import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

/// What filled the nodes, or would.
public struct FillResult: Sendable, Equatable {
    public var count: Int
    /// Why it went no further: `no_capacity`, `quota_exceeded`, or `limit`.
    public var stoppedBy = "limit"
    public var detail = "the limit of this request was reached"

    /// Takes in what ended it.
    ///
    /// - Throws: the error where it is another than want of room.
    fileprivate mutating func end(by error: any Error) throws {
        guard let refusal = error as? Refusal, [.noCapacity, .quotaExceeded].contains(refusal.code) else { throw error }
        stoppedBy = refusal.code.rawValue
        detail = refusal.sentence
    }
}

extension Commands {
    /// Starts as many instances as fit on the enabled nodes, up to a limit: each is placed and claimed as if it had been asked
    /// for alone, and the first that does not fit ends it, so that none is left in ERROR (HLT-27).
    ///
    /// - Parameter creation: one of them; its name gets a number that none of its owner's has.
    public func fillNodes(_ creation: InstanceCreation, limit: Int) throws -> FillResult {
        var result = FillResult(count: 0)
        guard let owner = actor.user else { throw Refusal(.forbidden, "only a user of this site can own instances") }
        let first = try sql.instances.highestNumber(behind: creation.name, of: owner) + 1
        while result.count < limit {
            var one = creation
            one.count = 1
            // Filling is for what is free.
            one.mayPreempt = false
            one.queues = false
            one.number = first + result.count
            do {
                _ = try createInstances(one)
                result.count += 1
            } catch {
                try result.end(by: error)
                break
            }
        }
        return result
    }

    /// How many `fillNodes` would start now. Writes nothing.
    public func fillEstimate(_ creation: InstanceCreation, limit: Int) throws -> FillResult {
        let (owner, flavor, image, _, group) = try parts(of: creation)
        var request = try placementRequest(
            flavor, image,
            PlacementWish(
                nodes: creation.node.map { [$0] } ?? [], excludedNodes: creation.excludedNodes,
                availabilityZone: creation.availabilityZone), in: group)
        var table = HostTable(try HostGroups(sql).snapshots(in: sql))
        table.setHeldBy(try sql.images.holders(of: image.id), image: image.id)
        let keepers = try keepers(bindingPreemptible: creation.preemption != nil)
        var result = FillResult(count: 0)
        while result.count < limit {
            do {
                try checkQuota(of: owner, for: .instances(result.count + 1, of: flavor))
                heed(keepers, in: &request) { table[$0] }
                switch table.place(request) {
                case .placed(let node):
                    request.group?.add(to: node)
                    result.count += 1
                case .refused(let counts):
                    throw noCapacity(
                        counts, flavor: flavor, group, placed: 0, wanted: 1, hosts: table.count,
                        shortage: try deviceShortage(of: flavor.devices))
                }
            } catch {
                try result.end(by: error)
                break
            }
        }
        return result
    }
}
