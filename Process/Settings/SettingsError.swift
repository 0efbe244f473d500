/// Why a daemon does not start with the configuration it was given. Each description says where the fault is, what was
/// found and what is accepted.
public enum SettingsError: Error, Equatable, CustomStringConvertible {
    /// Where a value came from.
    public enum Origin: Equatable, Sendable, CustomStringConvertible {
        case flag
        case environment(variable: String)
        case file(path: String, line: Int)

        public var description: String {
            switch self {
            case .flag: "the command line (--set)"
            case .environment(let variable): "the environment variable \(variable)"
            case .file(let path, let line): "\(path), line \(line)"
            }
        }
    }

    case unknownKey(key: String, origin: Origin, suggestion: String?)
    case badValue(key: String, origin: Origin, found: String, accepted: String, suggestion: String?)
    case repeatedKey(key: String, origin: Origin)
    case malformedFlag(String)
    case unreadableFile(path: String, reason: String)
    case malformedFile(path: String, line: Int?, reason: String)

    public var description: String {
        switch self {
        case .unknownKey(let key, let origin, let suggestion):
            "\(origin): there is no setting \(quoted(key))"
                + (suggestion.map { "; did you mean '\($0)'?" } ?? "; see the example configuration for all settings")
        case .badValue(let key, let origin, let found, let accepted, let suggestion):
            "\(origin): \(key) is \(found), but must be \(accepted)"
                + (suggestion.map { "; did you mean '\($0)'?" } ?? "")
        case .repeatedKey(let key, let origin):
            "\(origin): \(key) is set a second time; remove one of the two"
        case .malformedFlag(let text):
            "--set takes key=value, such as --set api.port=7400, but got \(quoted(text))"
        case .unreadableFile(let path, let reason):
            "the configuration file \(path) cannot be read: \(reason)"
        case .malformedFile(let path, let line, let reason):
            "\(path)\(line.map { ", line \($0)" } ?? ""): \(reason)"
        }
    }
}

/// A piece of outside text as it may stand in a message: on one line and not long.
func quoted(_ text: String) -> String {
    let plain = text.unicodeScalars.prefix(80).map { scalar in
        scalar.value < 0x20 || scalar.value == 0x7F ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }
    return "'" + plain.joined() + (text.unicodeScalars.count > 80 ? "…" : "") + "'"
}
