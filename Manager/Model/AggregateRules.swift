/// What an aggregate's metadata says to placement, besides what flavors ask for by keys of the site's own.
public struct AggregateRules: Sendable, Equatable {
    public enum Policy: String, Sendable, CaseIterable {
        /// Instances go to the host that stays emptiest.
        case spread
        /// Instances go to the host that becomes fullest, so that others stay free.
        case pack
    }

    public static let zoneKey = "availability_zone"
    /// Added to what a host weighs; a whole empty host weighs 1.
    public static let weights = -10.0...10.0
    /// As for a node's own.
    public static let ratios = 0.01...100.0

    public var zone: String?
    public var cpuRatio: Double?
    public var ramRatio: Double?
    public var diskRatio: Double?
    public var policy: Policy?
    public var weight: Double?
    /// By JSON pointer, in order of the keys. What is wrong counts as not said.
    public var faults: [Refusal.Field] = []

    public init(_ metadata: [String: String]) {
        zone = metadata[Self.zoneKey]
        if let zone, zone.isEmpty || zone.utf8.contains(where: { $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ",") }) {
            self.zone = nil
            fault(Self.zoneKey, "must be the name of a zone, without ':' and ','")
        }
        cpuRatio = number("cpu_allocation_ratio", in: metadata, Self.ratios)
        diskRatio = number("disk_allocation_ratio", in: metadata, Self.ratios)
        if let text = metadata["placement:policy"] {
            policy = Policy(rawValue: text)
            if policy == nil { fault("placement:policy", "must be spread or pack") }
        }
        weight = number("placement:weight", in: metadata, Self.weights)
        ramRatio = number("ram_allocation_ratio", in: metadata, Self.ratios)
    }

    private mutating func number(
        _ key: String, in metadata: [String: String], _ range: ClosedRange<Double>
    ) -> Double? {
        guard let text = metadata[key] else { return nil }
        guard let number = Double(text), range.contains(number) else {
            fault(key, "must be a number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    private mutating func fault(_ key: String, _ detail: String) {
        faults.append(.init(pointer: "/metadata/" + ImageProperties.escaped(key), detail: detail))
    }
}
