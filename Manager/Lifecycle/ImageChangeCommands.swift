public import ManagerModel
import ManagerStore
import ProtocolModel

/// What an owner may change of an image: what it says of itself, who may use it, and whether it is offered.
extension Commands {
    public func updateImage(
        _ reference: String, name: String?, visibility: Image.Visibility?, properties: [String: String]?,
        minDiskGiB: Int?, minRAMMiB: Int?, isProtected: Bool? = nil
    ) throws -> Image {
        try change(reference, "image.updated") { image in
            if let name { image.name = name }
            if let properties {
                try Self.check(properties)
                image.properties = properties
            }
            if let minDiskGiB { image.minDiskGiB = minDiskGiB }
            if let minRAMMiB { image.minRAMMiB = minRAMMiB }
            if let isProtected { image.isProtected = isProtected }
            if let visibility {
                // Who it was shared with is forgotten, so that none of them comes back unasked.
                if visibility != .shared { try sql.images.unshare(image.id) }
                image.visibility = visibility
            }
        }
    }

    /// - Throws: `Refusal` `invalid_request`, with what is wrong of each; `unprocessable` where all are properties, and some have
    ///   a meaning that their values have not.
    static func check(_ properties: [String: String]) throws {
        try refuse(ImageProperties.faults(in: properties), in: properties)
    }

    /// What is given beside properties that come from another image: what is wrong with those alone is older than the checks, and
    /// no fault of whoever gives the others.
    static func check(_ given: [String: String], beside inherited: [String: String]) throws {
        let known = Set(ImageProperties.faults(in: inherited).map(\.pointer))
        let sound = inherited.filter { !known.contains("/properties/\($0.key)") }
        let faults = ImageProperties.faults(in: sound.merging(given) { $1 })
        try refuse(faults, in: sound.merging(given) { $1 })
    }

    private static func refuse(_ faults: [Refusal.Field], in properties: [String: String]) throws {
        guard let first = faults.first else { return }
        let more = faults.count > 1 ? " (and \(faults.count - 1) more)" : ""
        throw Refusal(
            ImageProperties.areWellFormed(properties) ? .unprocessable : .invalidRequest,
            "\(first.pointer.dropFirst()) \(first.detail)\(more)", fields: faults)
    }

    // MARK: Whether it is offered

    /// Offers an image to nobody any more; what runs from it goes on, and its owner may still start it (IMG-08).
    public func deactivateImage(_ reference: String) throws -> Image {
        let present = try image(reference)
        try checkOwnership(of: present)
        if present.status == .deactivated { return present }
        guard present.status == .active else { throw try notReady(present) }
        return try change("\(present.id)", "image.deactivated") { $0.withdraw() }
    }

    public func reactivateImage(_ reference: String) throws -> Image {
        let present = try image(reference)
        try checkOwnership(of: present)
        if present.status == .active { return present }
        guard present.status == .deactivated else { throw try notReady(present) }
        return try change("\(present.id)", "image.reactivated") { $0.offer() }
    }

    /// Whether instances may be made from an image by this actor.
    func isUsable(_ image: Image) throws -> Bool {
        switch image.status {
        case .active: true
        case .deactivated: try actor.rights.allows(.imageChange, ownership(of: image.owner))
        default: false
        }
    }

    // MARK: Shares

    /// Lets the users of an account use an image.
    public func shareImage(_ reference: String, with account: String) throws -> Image {
        try change(reference, "image.shared", detail: account) { image in
            guard image.visibility != .public else {
                throw Refusal(.conflict, "image '\(image.name)' is public: everybody may use it")
            }
            guard try sql.accounts.find(name: account) != nil else {
                throw Refusal(.invalidRequest, "there is no account '\(account)'; see 'roost account list'")
            }
            image.visibility = .shared
            try sql.images.share(image.id, with: account, at: now)
        }
    }

    /// What the account's users run goes on; the image is private again once it is shared with nobody.
    public func unshareImage(_ reference: String, with account: String) throws -> Image {
        try change(reference, "image.unshared", detail: account) { image in
            try sql.images.unshare(image.id, with: account)
            if image.visibility == .shared, try sql.images.accounts(of: image.id).isEmpty {
                image.visibility = .private
            }
        }
    }

    // MARK: Replacement

    /// Gives an image's name, visibility and shares to another, in one step; the first is renamed, offered to nobody any
    /// more and kept, so that the same request the other way round takes it back (IMG-07).
    ///
    /// - Returns: the image that has the name now.
    public func replaceImage(_ reference: String, by successor: String) throws -> Image {
        var old = try image(reference)
        try checkOwnership(of: old)
        var new = try image(successor)
        try checkOwnership(of: new)
        guard old.id != new.id else { throw Refusal(.invalidRequest, "an image cannot take its own place") }
        for image in [old, new] where image.status != .active && image.status != .deactivated {
            throw try notReady(image)
        }
        guard old.visibility != .public || actor.rights.may(.imagePublish) else {
            throw Refusal(
                .forbidden, "image '\(old.name)' is offered to everybody; only a superuser may put another in its place"
            )
        }
        let (beforeOld, beforeNew) = (old, new)
        let name = old.name
        old.name = Self.retiredName(of: name, at: now)
        old.withdraw()
        new.name = name
        new.visibility = old.visibility
        new.offer()
        try sql.images.unshare(new.id)
        for account in try sql.images.accounts(of: old.id) { try sql.images.share(new.id, with: account, at: now) }
        try save(&old)
        try save(&new)
        try changed(old, from: beforeOld, "image.retired", detail: "replaced by \(new.id)")
        try changed(new, from: beforeNew, "image.replaced", detail: "in place of \(old.id)")
        return new
    }

    /// `debian_retired-20261128T171500Z`, within what a name may be.
    static func retiredName(of name: String, at now: Timestamp) -> String {
        let moment = "\(now)".prefix(19).filter { $0 != "-" && $0 != ":" }
        let first = name.firstRange(of: "_retired-").map { name[..<$0.lowerBound] } ?? name[...]
        return "\(first.prefix(128 - 9 - 16))_retired-\(moment)Z"
    }

    // MARK: How

    private func change(
        _ reference: String, _ kind: String, detail: String = "", _ body: (inout Image) throws -> Void
    ) throws -> Image {
        var image = try image(reference)
        try checkOwnership(of: image)
        let before = image
        try body(&image)
        try save(&image)
        try event(
            kind, ResourceReference(image), owner: image.owner, detail: detail,
            changes: Event.differences(from: before, to: image))
        return image
    }
}

extension Image {
    fileprivate mutating func withdraw() {
        guard status == .active else { return }
        status = .deactivated
        statusReason = "offered to nobody any more"
    }

    fileprivate mutating func offer() {
        guard status == .deactivated else { return }
        status = .active
        statusReason = ""
    }
}
