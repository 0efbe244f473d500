import RoostClient

/// `key=value` options as a JSON object.
enum KeyValueOptions {
    /// `nil` if none were given, so that the member is left out.
    static func object(_ pairs: [String]) throws(Failure) -> JSON? {
        guard !pairs.isEmpty else { return nil }
        var object: JSON = [:]
        for pair in pairs {
            guard let equals = pair.firstIndex(of: "="), equals != pair.startIndex else {
                throw .usage("'\(pair)' is not of the form key=value")
            }
            object = object.setting(String(pair[..<equals]), to: .string(String(pair[pair.index(after: equals)...])))
        }
        return object
    }
}
