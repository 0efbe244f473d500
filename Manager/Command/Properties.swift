/// `key=value` options as a JSON object.
enum Properties {
    static func object(_ pairs: [String]) throws(Failure) -> JSON? {
        guard !pairs.isEmpty else { return nil }
        var members: [String: JSON] = [:]
        for pair in pairs {
            guard let equals = pair.firstIndex(of: "="), equals != pair.startIndex else {
                throw Failure("'\(pair)' is not of the form key=value", isUsage: true)
            }
            members[String(pair[..<equals])] = .string(String(pair[pair.index(after: equals)...]))
        }
        return .object(members)
    }
}

/// A reference in a path.
func segment(_ reference: String) -> String { APIClient.escaped(reference) }
