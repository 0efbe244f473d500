/// What becomes of a node's guests when it is taken out of service.
public enum DrainMode: String, Sendable, CaseIterable, Codable {
    /// Guests are asked to shut down; what still runs after their time runs on, unless it is to be forced off.
    case stop
    /// Guests are asked to shut down; what still runs after their time is forced off.
    case shutdown
    /// Guests run until they end by themselves, or to a deadline; then as `stop`.
    case wait
    /// Guests move to other nodes. Not built.
    case migrate
}
