/// How the document groups operations: by the resource in their path.
enum DocumentTag {
    private static let descriptions: [(name: String, description: String)] = [
        ("instances", "Virtual machines: created, started, stopped, deleted."),
        ("flavors", "Sizes of instances."), ("images", "Disks that instances are made from."),
        ("server-groups", "Instances that are to be on one host, or on different ones."),
        ("keypairs", "ssh keys that instances let in."), ("users", "People and services that have an account here."),
        ("accounts", "Groups of users with an owner, for whom limits and reports are."),
        ("groups", "Users of an account by a common name."), ("roles", "Sets of permissions."),
        ("api-keys", "Credentials of programs."), ("registrations", "Becoming a user by e-mail."),
        ("password-resets", "New passwords by e-mail."),
        ("registration-whitelist", "Who may become a user."), ("quotas", "Limits and what is used of them."),
        ("oauth", "Signing in: tokens by OAuth 2."), ("operations", "What a request set going, step by step."),
        ("events", "What happened and who did it: the audit, and a stream."),
        ("usage", "What was used, by day and user."),
        ("nodes", "Hosts that run instances."), ("aggregates", "Groups of nodes."),
        ("placement", "Why instances go where they go."),
        ("devices", "Devices of nodes that guests can be given."),
        ("device-aliases", "What flavors ask for devices by, and how many there are."),
        ("device-rules", "Which devices guests may be given, and by what alias."),
        ("image-policies", "Images that nodes get by themselves."), ("managers", "The managers of the site."),
        ("site", "The site: health, settings, this document."),
    ]

    static func name(of pattern: String) -> String {
        let segments = pattern.split(separator: "/").map(String.init)
        switch segments.first {
        case "v1": break
        case "oauth", ".well-known": return "oauth"
        default: return "site"
        }
        let noun = segments.dropFirst().first ?? "site"
        return ["openapi.json", "docs"].contains(noun) ? "site" : noun
    }

    /// The tags of these routes, in the order in which people look for them.
    static func all(of routes: [Route]) -> [(name: String, description: String)] {
        let used = Set(routes.map { name(of: $0.pattern) })
        let known = descriptions.filter { used.contains($0.name) }
        let others = used.subtracting(known.map(\.name)).sorted()
        return known + others.map { ($0, title($0) + ".") }
    }

    static func title(_ name: String) -> String {
        guard name != "oauth" else { return "OAuth" }
        let words = name.replacing("-", with: " ")
        return words.prefix(1).uppercased() + words.dropFirst()
    }
}
