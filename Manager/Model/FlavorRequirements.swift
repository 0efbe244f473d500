public import ProtocolModel

/// What a flavor's properties ask for besides its size, as `FlavorProperties` reads it.
public struct FlavorRequirements: Sendable, Equatable {
    /// Devices to be passed through: so many of those with a site's alias.
    public struct Devices: Sendable, Hashable {
        public var alias: String
        public var count: Int

        public init(alias: String, count: Int) {
            self.alias = alias
            self.count = count
        }
    }

    public enum CPUPolicy: String, Sendable, CaseIterable { case shared, dedicated }

    public enum PageSize: String, Sendable, CaseIterable {
        case small, large
        case mebibytes2 = "2MB"
        case gibibyte1 = "1GB"
    }

    /// Whether hosts that may be taken back at any time are chosen after all others, before them, or as the others are.
    public enum Opportunistic: String, Sendable, CaseIterable { case last, first, alike }

    /// What its instances do when their hosts vanish, where nobody says otherwise.
    public var onHostLoss = HostLossPolicy.keep
    /// In order of their aliases.
    public var devices: [Devices] = []
    /// In order of their keys.
    public var aggregates: [AggregateRequirement] = []
    public var cpuPolicy = CPUPolicy.shared
    public var numaNodes: Int?
    public var pageSize = PageSize.small
    public var limits: [GuestHardware.Limit: Int] = [:]
    /// The most that an image may ask for.
    public var videoRAMMiB: Int?
    public var opportunistic = Opportunistic.last

    /// Where its guests lie; `nil`: anywhere.
    public func cells(vcpus: Int, memoryMiB: Int) -> CellRequest? {
        guard cpuPolicy == .dedicated || numaNodes != nil || pageSize != .small else { return nil }
        let pages: CellRequest.Pages =
            switch pageSize {
            case .small: .small
            case .large: .large
            case .mebibytes2: .size(kib: 2048)
            case .gibibyte1: .size(kib: 1 << 20)
            }
        return CellRequest(
            vcpus: vcpus, memoryMiB: memoryMiB, cells: numaNodes ?? 1, isDedicated: cpuPolicy == .dedicated,
            pages: pages)
    }

    public init() {}
}
