public import ProtocolModel

/// What somebody may be allowed to do. Every route names one; `Rights` says who may, and to whose things (P9).
///
/// The words stand in site-defined roles and in API keys' scopes, so a case that has been released keeps its name.
public enum Permission: String, Sendable, CaseIterable {
    case siteRead, siteChange
    case siteStatusRead, apiDocumentRead, tokenRequest
    case userRead, userCreate, userChange, userAdminister, userDelete, userMasquerade
    case accountRead, accountCreate, accountChange, accountDelete
    case groupRead, groupCreate, groupChange, groupDelete
    case roleRead, roleCreate, roleChange, roleDelete
    case keyPairRead, keyPairCreate, keyPairChange, keyPairDelete
    case serverGroupRead, serverGroupCreate, serverGroupDelete
    case apiKeyRead, apiKeyCreate, apiKeyChange, apiKeyDelete
    case tokenIntrospect, signingKeyRotate
    case registrationRead, registrationChange, registrationRequest
    case quotaRead, quotaChange, accountQuotaChange, quotaDefaultChange
    case flavorRead, flavorCreate, flavorChange, flavorDelete
    case imageRead, imageCreate, imagePublish, imageUpload, imageChange, imageDelete, imagePrefill
    case instanceRead, instanceCreate, instanceChange, instancePower, instanceDelete, instanceConsole
    case instancePin, instanceReadAll, instancePriority
    case nodeRead, nodeChange, nodeDelete, nodeTokenCreate
    case aggregateRead, aggregateCreate, aggregateChange, aggregateDelete
    case deviceRead, deviceChange, deviceRuleRead, deviceRuleCreate, deviceRuleChange, deviceRuleDelete
    case managerRead
    case operationRead, operationChange, usageRead, eventRead
    /// Resources that this version announces but does not serve yet.
    case notYetServed

    /// Whether it is about the same kind of resource as the permission to read it: the words before the verb are the kind.
    public func concerns(sameAs read: Permission) -> Bool { rawValue.hasPrefix(read.rawValue.dropLast("Read".count)) }

    /// What needs no token at all: it tells nothing about anybody, or is how one gets a token.
    public var isOpen: Bool {
        switch self {
        case .siteStatusRead, .apiDocumentRead, .tokenRequest, .registrationRequest: true
        default: false
        }
    }
}

/// How far a permission goes.
public enum Reach: Int, Sendable, Comparable, CaseIterable {
    /// Not at all.
    case none
    /// What is the caller's own.
    case own
    /// What belongs to users of the caller's account.
    case account
    /// Everybody's, and what belongs to nobody.
    case all

    public static func < (left: Reach, right: Reach) -> Bool { left.rawValue < right.rawValue }

    /// As it stands in a role's document.
    public var word: String {
        switch self {
        case .none: "none"
        case .own: "own"
        case .account: "account"
        case .all: "all"
        }
    }

    public init?(word: String) {
        guard let reach = Self.allCases.first(where: { $0.word == word }) else { return nil }
        self = reach
    }
}

/// Whose a resource is, seen from the one who asks.
public enum Ownership: Sendable, CaseIterable {
    /// The caller's own, or not about a resource at all.
    case own
    /// Another's of the caller's account.
    case account
    /// Another's, that is offered to the caller, such as a public image.
    case shared
    /// Another account's, or nobody's.
    case foreign
}

/// Whose things somebody may see or change: what a list is narrowed to.
public enum Scope: Sendable, Equatable {
    case everything
    /// Of the users of the account with this name.
    case account(String)
    case user(UserID)
}
