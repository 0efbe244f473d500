/// What somebody may do, and to whose things: the union of their roles, less what their token does not cover.
public struct Rights: Sendable, Equatable {
    private var reaches: [Permission: Reach]

    public static let none = Rights([:])
    /// Everything, as the manager itself and a superuser may.
    public static let complete = Rights(
        Dictionary(uniqueKeysWithValues: Permission.allCases.map { ($0, Reach.all) }))

    public init(_ reaches: [Permission: Reach]) {
        self.reaches = reaches.filter { $0.value > .none }
    }

    public subscript(_ permission: Permission) -> Reach { permission.isOpen ? .all : reaches[permission] ?? .none }

    /// In no order.
    public var granted: [Permission: Reach] { reaches }

    /// Whether anything may be done by this permission; what may never be done is refused before the resource is looked for.
    public func may(_ permission: Permission) -> Bool { self[permission] > .none }

    /// Whether it reaches a resource of that ownership.
    public func allows(_ permission: Permission, _ ownership: Ownership) -> Bool {
        switch ownership {
        case .own: self[permission] >= .own
        case .account: self[permission] >= .account
        // What is offered may be looked at; whoever offers it keeps the say over it.
        case .shared: permission == .imageRead ? self[permission] >= .own : self[permission] == .all
        case .foreign: self[permission] == .all
        }
    }

    /// For each permission what reaches further.
    public func union(_ other: Rights) -> Rights { Rights(reaches.merging(other.reaches, uniquingKeysWith: max)) }

    /// Only these permissions: a token, or a key, that covers less than its owner may (SEC-08).
    public func limited(to permissions: Set<Permission>) -> Rights {
        Rights(reaches.filter { permissions.contains($0.key) })
    }

    /// Whether nothing in `other` goes beyond this: rights that are handed on never exceed those of the giver (SEC-08).
    public func covers(_ other: Rights) -> Bool {
        other.reaches.allSatisfy { permission, reach in self[permission] >= reach }
    }
}

extension Rights {
    /// What each role of the system may do. Site-defined roles are rows of the record.
    public static func builtIn(_ role: Role) -> Rights {
        switch role {
        case .superuser: .complete
        case .user: user
        case .accountOwner: accountOwner
        case .controllerService: controllerService
        case .accountantService: accountantService
        }
    }

    /// Their own things, what is offered to them, and the site's flavors.
    private static let user = Rights(
        reach(
            .own,
            [
                .userRead, .userChange, .accountRead, .groupRead, .keyPairRead, .keyPairCreate, .keyPairChange,
                .keyPairDelete, .apiKeyRead, .apiKeyCreate, .apiKeyChange, .apiKeyDelete, .quotaRead, .imageRead,
                .imageCreate, .imageUpload, .imageChange, .imageDelete, .instanceRead, .instanceCreate, .instanceChange,
                .instancePower, .instanceDelete, .instanceConsole, .serverGroupRead, .serverGroupCreate,
                .serverGroupDelete, .operationRead, .operationChange, .usageRead, .eventRead,
            ]
        ).merging(reach(.all, [.flavorRead, .roleRead, .notYetServed])) { $1 })

    /// A regular user who manages the users of their account (AUT-08, ACC-11).
    private static let accountOwner = user.union(
        Rights(
            reach(
                .account,
                [
                    .userRead, .userCreate, .userChange, .userAdminister, .userDelete, .accountRead, .accountChange,
                    .groupRead, .groupCreate, .groupChange, .groupDelete, .apiKeyRead, .apiKeyDelete, .quotaRead,
                    .quotaChange, .imageRead, .imageChange, .imageDelete, .instanceRead, .instanceChange,
                    .instancePower,
                    .instanceDelete, .operationRead, .usageRead, .eventRead,
                ])))

    /// Another controller or portal of the site: it knows who there is and what runs, and asks what tokens are worth
    /// (AUT-06). It changes nothing that is not its own.
    private static let controllerService = user.union(
        Rights(
            reach(
                .all,
                [
                    .userRead, .accountRead, .groupRead, .keyPairRead, .imageRead, .instanceRead, .serverGroupRead,
                    .nodeRead, .aggregateRead, .deviceRead, .deviceRuleRead, .managerRead, .operationRead,
                    .tokenIntrospect,
                ])))

    /// The site's accounting: who there is and what they used (AUT-07).
    private static let accountantService = Rights(
        reach(
            .own,
            [
                .userChange, .apiKeyRead, .apiKeyCreate, .apiKeyChange, .apiKeyDelete, .eventRead, .operationRead,
            ]
        ).merging(
            reach(
                .all,
                [
                    .userRead, .accountRead, .groupRead, .instanceRead, .flavorRead, .usageRead, .quotaRead, .roleRead,
                    .tokenIntrospect, .notYetServed,
                ])
        ) { $1 })

    private static func reach(_ reach: Reach, _ permissions: [Permission]) -> [Permission: Reach] {
        Dictionary(uniqueKeysWithValues: permissions.map { ($0, reach) })
    }
}
