public import ProtocolModel

/// One line of the event log: every state change, numbered, in the transaction that made it. Never holds a secret (SEC-14).
public struct Event: Sendable, Equatable {
    /// One field of a resource before and after a change; `nil` where it did not exist.
    public struct Difference: Sendable, Equatable, Codable {
        public var before: String?
        public var after: String?

        public init(before: String?, after: String?) {
            self.before = before
            self.after = after
        }
    }

    /// Grows by one; a number is never used again, also not after the event was pruned.
    public var sequence: Int64
    public var at: Timestamp
    /// Such as `instance.created` or `node.down`.
    public var kind: String
    /// The name of whoever did it.
    public var actor: String
    /// Who did it, since a name may be given to another user later; `nil` for the manager itself.
    public var actorID: UserID?
    /// Who may read it besides a superuser.
    public var owner: UserID?
    public var resource: ResourceReference
    public var detail: String
    public var data: [String: String]
    /// The request that caused it: the `X-Request-ID` of its answer. `nil` where no request did.
    public var request: String?
    /// The operation that it is a step of.
    public var operation: OperationID?
    /// What the change changed, by field.
    public var changes: [String: Difference]
    /// Where the request came from.
    public var address: String?
    /// The session or API key of the request; names it, and is no secret.
    public var credential: String?
    /// The name and ID of who really did it, where somebody acted as `actor`.
    public var impersonator: Actor.Impersonator?
    public var outcome: Outcome

    /// How an attempt ended.
    public enum Outcome: String, Sendable, CaseIterable {
        case done
        /// It was not allowed, and changed nothing.
        case refused
    }

    public init(
        sequence: Int64, at: Timestamp, kind: String, actor: String, actorID: UserID? = nil, owner: UserID?,
        resource: ResourceReference, detail: String, data: [String: String], request: String? = nil,
        operation: OperationID? = nil, changes: [String: Difference] = [:], address: String? = nil,
        credential: String? = nil, impersonator: Actor.Impersonator? = nil, outcome: Outcome = .done
    ) {
        self.sequence = sequence
        self.at = at
        self.kind = kind
        self.actor = actor
        self.actorID = actorID
        self.owner = owner
        self.resource = resource
        self.detail = detail
        self.data = data
        self.request = request
        self.operation = operation
        self.changes = changes
        self.address = address
        self.credential = credential
        self.impersonator = impersonator
        self.outcome = outcome
    }

    /// The fields in which two states of a resource differ; `nil` stands for a resource that does not exist.
    public static func differences<Resource: Audited>(
        from old: Resource?, to new: Resource?
    ) -> [String: Difference] {
        let (before, after) = (old?.auditedFields ?? [:], new?.auditedFields ?? [:])
        var differences: [String: Difference] = [:]
        for (field, value) in before where after[field] != value {
            differences[field] = Difference(before: value, after: after[field])
        }
        for (field, value) in after where before[field] == nil {
            differences[field] = Difference(before: nil, after: value)
        }
        return differences
    }
}

/// A resource whose changes the event log tells field by field.
public protocol Audited {
    /// What may be told of its state, by the names of the API. A secret is not among it; where one changed, and that is
    /// worth telling, the caller says so without its value.
    var auditedFields: [String: String] { get }
}

extension Instance: Audited {
    public var auditedFields: [String: String] {
        var fields = [
            "name": name, "status": status.rawValue, "desired_state": desired.rawValue, "flavor": "\(flavor)",
            "image": "\(image)",
        ]
        if let node { fields["node"] = "\(node)" }
        if priority != 0 { fields["priority"] = "\(priority)" }
        if let preemption { fields["on_preemption"] = preemption.rawValue }
        if let keyName { fields["key_name"] = keyName }
        if let ipAddress { fields["address"] = ipAddress }
        if let serverGroup { fields["server_group"] = "\(serverGroup)" }
        if onHostLoss != .keep { fields["on_host_loss"] = onHostLoss.rawValue }
        // Values are for the guest, and may be what only it should know.
        if !metadata.isEmpty { fields["metadata"] = metadata.keys.sorted().joined(separator: " ") }
        return fields
    }
}

extension Image: Audited {
    public var auditedFields: [String: String] {
        var fields = [
            "name": name, "status": status.rawValue, "visibility": visibility.rawValue, "min_disk_gib": "\(minDiskGiB)",
            "min_ram_mib": "\(minRAMMiB)",
        ]
        if let format { fields["format"] = format }
        if let sizeBytes { fields["size_bytes"] = "\(sizeBytes)" }
        if let manifestDigest { fields["manifest_digest"] = "\(manifestDigest)" }
        if isProtected { fields["protected"] = "true" }
        for (key, value) in properties { fields["properties.\(key)"] = value }
        return fields
    }
}

extension Node: Audited {
    public var auditedFields: [String: String] {
        var fields = [
            "name": name, "enabled": "\(enabled)", "status": liveness.rawValue, "drain_state": drainState.rawValue,
            "certificate_serial": certificateSerial,
        ]
        if let cpuAllocationRatio { fields["cpu_allocation_ratio"] = "\(cpuAllocationRatio)" }
        if let ramAllocationRatio { fields["ram_allocation_ratio"] = "\(ramAllocationRatio)" }
        if let diskAllocationRatio { fields["disk_allocation_ratio"] = "\(diskAllocationRatio)" }
        if isOpportunistic { fields["opportunistic"] = "true" }
        if let dedicatedCPUs { fields["dedicated_cpus"] = "\(dedicatedCPUs)" }
        let texts = [
            "disabled_reason": disabledReason, "location": location, "boot_id": bootID,
            "software_version": softwareVersion, "host_name": inventory.hostName, "cpu_model": inventory.cpuModel,
            "architecture": inventory.architecture, "kernel_version": inventory.kernelVersion,
            "libvirt_version": inventory.libvirtVersion, "hypervisor_version": inventory.hypervisorVersion,
            "accelerator": inventory.accelerator, "guest_subnet": inventory.guestSubnet,
            "chunk_address": inventory.chunkAddress,
        ]
        for (field, text) in texts where !text.isEmpty { fields[field] = text }
        if let hold {
            fields["hold"] = "\(hold.enabled ? "enabled" : "disabled") by \(hold.owner)"
            fields["until"] = hold.until?.description
        }
        if let loss { fields["lost"] = loss.certainty?.sentence ?? "not heard since \(loss.since)" }
        if let hostHold { fields["host_hold"] = "left: \(hostHold.sentence)" }
        if let availability {
            fields["availability"] = "\(availability.text) (\(availability.timeZone))"
            fields["availability_owner"] = availability.owner
            fields["availability_reason"] = availability.reason.isEmpty ? nil : availability.reason
        }
        fields.merge(transferLimits.auditedFields) { $1 }
        guard inventory.cpuCount > 0 else { return fields }
        fields["cpu_count"] = "\(inventory.cpuCount)"
        fields["memory_bytes"] = "\(inventory.memoryBytes)"
        fields["disk_bytes"] = "\(inventory.diskBytes)"
        fields["pci_devices"] = "\(inventory.pciDevices.count)"
        return fields
    }
}

extension Flavor: Audited {
    public var auditedFields: [String: String] {
        var fields = ["name": name, "vcpus": "\(vcpus)", "ram_mib": "\(ramMiB)", "disk_gib": "\(diskGiB)"]
        for (key, value) in properties { fields["properties.\(key)"] = value }
        return fields
    }
}

extension User: Audited {
    public var auditedFields: [String: String] {
        var fields = [
            "name": name, "roles": roles.joined(separator: " "), "account": account, "enabled": "\(enabled)",
            "source": source.rawValue,
        ]
        if let email { fields["email"] = email }
        if !fullName.isEmpty { fields["full_name"] = fullName }
        if let unixName { fields["unix_name"] = unixName }
        if mustChangePassword { fields["must_change_password"] = "true" }
        return fields
    }
}

extension KeyPair: Audited {
    public var auditedFields: [String: String] { ["name": name, "type": type, "fingerprint": fingerprint] }
}
