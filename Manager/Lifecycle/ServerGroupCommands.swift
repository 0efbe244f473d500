public import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

// Server groups: who may have which is said by their owner, where their instances go by placement.
extension Commands {
    public static let maximumServerGroups = 200

    /// - Parameter maximumPerHost: with `antiAffinity` alone; `nil`: one.
    public func createServerGroup(
        name: String, policy: ServerGroup.Policy, maximumPerHost: Int? = nil
    ) throws -> ServerGroup {
        guard let owner = actor.user else { throw Refusal(.forbidden, "server groups belong to users") }
        guard ServerGroupID(name) == nil else {
            throw Refusal(.unprocessable, "a server group's name must not look like an ID")
        }
        if maximumPerHost != nil, policy != .antiAffinity {
            throw Refusal(
                .unprocessable, "only groups with the policy anti-affinity have a limit for each host; leave it out",
                fields: [.init(pointer: "/max_per_host", detail: "goes with the policy anti-affinity alone")])
        }
        guard try sql.serverGroups.list(.user(owner), name: name, Page(limit: 1)).isEmpty else {
            throw Refusal(.nameTaken, "you have a server group '\(name)' already")
        }
        let limit = Self.maximumServerGroups
        guard try sql.serverGroups.list(.user(owner), Page(limit: limit)).count < limit else {
            throw Refusal(.conflict, "you have \(limit) server groups, which is the most; delete some first")
        }
        let group = ServerGroup(
            id: .generate(at: now), name: name, owner: owner, policy: policy, maximumPerHost: maximumPerHost,
            createdAt: now)
        try sql.serverGroups.insert(group)
        try event(
            "server_group.created", ResourceReference(group), owner: owner,
            changes: Event.differences(from: nil, to: group))
        return group
    }

    /// Forgets a group without instances.
    public func deleteServerGroup(_ reference: String) throws -> ServerGroup {
        let group = try serverGroup(reference)
        let named = 5
        let members = try sql.serverGroups.instances(in: group.id, limit: named + 1)
        guard members.isEmpty else {
            let names = members.prefix(named).map(\.name).joined(separator: ", ")
            throw Refusal(
                .inUse,
                "server group '\(group.name)' still has instances: \(names)\(members.count > named ? " and more" : ""); "
                    + "delete them first")
        }
        try sql.serverGroups.remove(group.id)
        try event(
            "server_group.deleted", ResourceReference(group), owner: group.owner,
            changes: Event.differences(from: group, to: nil))
        return group
    }

    /// The group that an instance of this owner is to be in.
    func serverGroup(_ reference: String, forInstancesOf owner: User) throws -> ServerGroup {
        let group = try serverGroup(reference)
        guard group.owner == owner.id else {
            throw Refusal(
                .unprocessable, "server group '\(group.name)' is another user's, and takes instances of theirs alone",
                fields: [.init(pointer: "/server_group", detail: "must be one of the instance's owner")])
        }
        return group
    }

    /// The group as placement sees it, with the instances that are in it now.
    func placement(of group: ServerGroup) throws -> GroupPlacement {
        GroupPlacement(
            group.policy, maximumPerHost: group.maximumPerHost ?? 1,
            members: try sql.serverGroups.instancesByNode(in: group.id))
    }
}
