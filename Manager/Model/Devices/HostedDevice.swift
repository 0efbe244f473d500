/// A device, and how the node is that it is in: what decides whether a guest can be given it now.
public struct HostedDevice: Sendable, Equatable {
    public var device: Device
    public var nodeName: String
    public var isNodeEnabled: Bool
    public var isNodeAlive: Bool
    /// Of the instance that has it.
    public var instanceName: String?
    public var owner: String?

    public init(_ device: Device, on nodeName: String, isNodeEnabled: Bool, isNodeAlive: Bool) {
        self.device = device
        self.nodeName = nodeName
        self.isNodeEnabled = isNodeEnabled
        self.isNodeAlive = isNodeAlive
    }

    public enum Status: String, Sendable, CaseIterable {
        case free
        /// An instance has it.
        case inUse = "in_use"
        /// Its node is not heard from.
        case offline
        /// Its node takes no instances.
        case disabled
        /// Its host, or the site's rules, do not let guests have it.
        case unusable
        /// Kept out of service.
        case quarantined
        /// Gone from its host.
        case absent
    }

    /// What is wrong with the device itself goes before what is wrong with its node.
    public var status: Status {
        switch device.status {
        case .unusable: .unusable
        case .quarantined: .quarantined
        case .absent: .absent
        case .inUse: .inUse
        case .free: !isNodeAlive ? .offline : isNodeEnabled ? .free : .disabled
        }
    }

    /// Why it is not free.
    public var reason: String? {
        switch status {
        case .offline: "its node does not answer"
        case .disabled: "its node is disabled"
        default: device.reason
        }
    }
}
