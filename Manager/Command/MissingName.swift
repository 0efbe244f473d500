import RoostClient

/// A name that the manager did not find, taken from its sentence: good for a hint, and for nothing else.
struct MissingName: Equatable {
    private static let collections = [
        "instance": "instances", "flavor": "flavors", "image": "images", "node": "nodes", "aggregate": "aggregates",
        "key pair": "keypairs", "user": "users", "account": "accounts", "group": "groups", "role": "roles",
        "server group": "server-groups", "API key": "api-keys", "prefill policy": "image-policies",
    ]

    var collection: String
    var name: String

    /// `nil` where nothing was missing, or nothing that has a name.
    init?(_ problem: Problem) {
        guard problem.code == "not_found" else { return nil }
        let words = problem.detail.split(separator: "'", omittingEmptySubsequences: false)
        let beginning = "there is no "
        guard words.count >= 3, words[0].lowercased().hasPrefix(beginning) else { return nil }
        let noun = words[0].dropFirst(beginning.count).split(separator: " ").joined(separator: " ")
        guard let collection = Self.collections[noun], !words[1].isEmpty else { return nil }
        self.collection = collection
        name = String(words[1])
    }

    /// The nearest name of those that there are; the first page has to do.
    func nearest(_ roost: RoostClient) async -> String? {
        var query: ListQuery = [:]
        // Roles are few, and come without pages.
        if collection == "roles" { query.pageSize = nil }
        var pages = roost.pages("/v1/\(collection)", query).makeAsyncIterator()
        guard let page = try? await pages.next() else { return nil }
        return Nearness.nearest(to: name, among: page.items.compactMap { $0["name"].text })
    }
}
