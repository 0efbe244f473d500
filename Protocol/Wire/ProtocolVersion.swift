/// Versions of the agent protocol. The two sides settle on the highest that both speak; neighbours differ by one at
/// most, so that a fleet can be upgraded in any order.
public enum ProtocolVersion {
    public static let current: UInt32 = 1
    /// The oldest version that this side still speaks.
    public static let minimum: UInt32 = 1

    /// The version that two ranges settle on; `nil` where they share none or one of them is empty.
    public static func negotiate(_ ours: ClosedRange<UInt32>, minimum: UInt32, maximum: UInt32) -> UInt32? {
        guard minimum <= maximum, ours.lowerBound <= maximum, minimum <= ours.upperBound else { return nil }
        return min(ours.upperBound, maximum)
    }

    public static let supported = minimum...current
}

/// Additions within a version: a side uses one only where the other listed it.
public enum ProtocolFeature {
    /// The agent keeps the addresses of all managers and goes where `not_leader` sends it.
    public static let managers = "managers"
    /// The agent heeds `paused` and `launch` of an image, and `transfer_limits`. Others ignore them.
    public static let transferControl = "transfer_control"
}

/// Names that the two programs agree on before the first frame.
public enum ApplicationProtocol {
    /// ALPN (RFC 7301) of control connections.
    public static let control = "roost/1"
    /// ALPN of chunk connections.
    public static let chunks = "roost-chunks/1"
}
