public import ManagerModel
public import ProtocolModel

/// What somebody may be allowed to do. Every route names one; the table below is the only place that says who may (P9).
public enum Permission: String, Sendable, CaseIterable {
    case siteRead, siteChange
    case siteStatusRead, apiDocumentRead, tokenRequest
    case userRead, userCreate, userChange, userAdminister, userDelete
    case keyPairRead, keyPairCreate, keyPairDelete
    case flavorRead, flavorCreate, flavorDelete
    case imageRead, imageCreate, imagePublish, imageUpload, imageChange, imageDelete, imagePrefill
    case instanceRead, instanceCreate, instanceChange, instancePower, instanceDelete, instanceConsole
    case instancePin, instanceReadAll
    case nodeRead, nodeChange, nodeDelete, nodeTokenCreate
    case aggregateRead, aggregateCreate, aggregateChange, aggregateDelete
    case managerRead
    case operationRead, operationChange, usageRead, eventRead
    /// Resources that this version announces but does not serve yet.
    case notYetServed
}

/// Whose a resource is, seen from the one who asks.
public enum Ownership: Sendable, CaseIterable {
    /// The caller's own, or not about a resource at all.
    case own
    /// Another's, that is offered to everybody, such as a public image.
    case shared
    case foreign
}

/// The table of permissions.
public enum Access {
    enum Rule: Sendable, Equatable {
        /// Also without a token.
        case anybody
        /// Whoever has signed in, whatever it is.
        case signedIn
        /// Whoever has signed in, for what is theirs; a superuser for all.
        case owner
        /// As `owner`, and also what is shared.
        case ownerOrShared
        case superuser
    }

    static func rule(_ permission: Permission) -> Rule {
        switch permission {
        case .siteStatusRead, .apiDocumentRead, .tokenRequest: .anybody
        case .flavorRead, .notYetServed: .signedIn
        case .userRead, .userChange: .owner
        case .keyPairRead, .keyPairCreate, .keyPairDelete: .owner
        case .imageRead: .ownerOrShared
        case .imageCreate, .imageUpload, .imageChange, .imageDelete: .owner
        case .instanceRead, .instanceCreate, .instanceChange, .instancePower, .instanceDelete, .instanceConsole: .owner
        case .operationRead, .operationChange, .usageRead, .eventRead: .owner
        case .userCreate, .userAdminister, .userDelete: .superuser
        case .flavorCreate, .flavorDelete: .superuser
        case .imagePublish, .imagePrefill: .superuser
        case .instancePin, .instanceReadAll: .superuser
        case .nodeRead, .nodeChange, .nodeDelete, .nodeTokenCreate, .managerRead: .superuser
        case .siteRead, .siteChange: .superuser
        case .aggregateRead, .aggregateCreate, .aggregateChange, .aggregateDelete: .superuser
        }
    }

    /// Whether this needs no token at all.
    public static func isOpen(_ permission: Permission) -> Bool {
        rule(permission) == .anybody
    }

    /// Whether the role may do this to a resource of that ownership.
    public static func allows(_ role: Role, _ permission: Permission, _ ownership: Ownership) -> Bool {
        switch rule(permission) {
        case .anybody, .signedIn: true
        case .owner: role == .superuser || ownership == .own
        case .ownerOrShared: role == .superuser || ownership != .foreign
        case .superuser: role == .superuser
        }
    }

    /// Whether the role may do this to anything; what may never be done is refused before the resource is looked for.
    public static func mayEver(_ role: Role, _ permission: Permission) -> Bool {
        Ownership.allCases.contains { allows(role, permission, $0) }
    }

    /// Whether the role may do this to everybody's resources.
    public static func coversAll(_ role: Role, _ permission: Permission) -> Bool {
        allows(role, permission, .foreign)
    }

    /// Whose a resource with this owner is, seen from `actor`.
    public static func ownership(of owner: UserID?, by actor: Actor, isShared: Bool = false) -> Ownership {
        if let owner, owner == actor.user { return .own }
        return isShared ? .shared : .foreign
    }
}
