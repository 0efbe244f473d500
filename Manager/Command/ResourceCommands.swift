import ArgumentParser
import RoostClient

/// A command that prints a list of resources.
protocol Listing: AsyncParsableCommand {
    static var collection: String { get }
    static var columns: [Column] { get }
    var list: ListOptions { get }
    var site: SiteOptions { get }
}

extension Listing {
    func run() async throws { try await list.print("/v1/\(Self.collection)", Self.columns, site) }
}

/// A command that prints one resource.
protocol Showing: AsyncParsableCommand {
    static var collection: String { get }
    var reference: String { get }
    var site: SiteOptions { get }
}

extension Showing {
    func run() async throws {
        try await site.withClient { client, printer in
            printer.resource(try await client.get(try path(Self.collection, reference)))
        }
    }
}

/// A command that deletes resources; what fails does not stop the others.
protocol Deleting: AsyncParsableCommand {
    static var collection: String { get }
    var references: [String] { get }
    var site: SiteOptions { get }
}

extension Deleting {
    func run() async throws {
        try await site.withClient { client, printer in
            try await attemptEach(references) { reference in
                _ = try await client.delete(try path(Self.collection, reference))
                printer.note("Deleted \(reference.printable).")
            }
        }
    }
}

/// Does something for each reference, then throws all failures together, each with its reference.
func attemptEach(_ references: [String], _ body: (String) async throws -> Void) async throws {
    var failures: [Failure] = []
    for reference in references {
        do {
            try await body(reference)
        } catch let failure as Failure {
            failures.append(references.count > 1 ? failure.of(reference) : failure)
        }
    }
    if !failures.isEmpty { throw Failure.together(failures) }
}

/// A change of one resource, as the options of a command say.
struct ResourceChange {
    let collection: String
    let reference: String
    let columns: [Column]
    let site: SiteOptions

    /// Sends the members that are to be different, and shows the resource as it then is.
    func send(_ body: JSON) async throws {
        guard !body.members.isEmpty else { throw Failure.usage("say what to change") }
        try await site.withClient { client, printer in
            printer.list(try await client.patch(try path(collection, reference), body), columns)
        }
    }
}

/// Enables or disables resources of a kind.
func setEnabled(_ enabled: Bool, _ collection: String, _ references: [String], _ site: SiteOptions) async throws {
    try await site.withClient { client, printer in
        try await attemptEach(references) { reference in
            _ = try await client.patch(try path(collection, reference), ["enabled": .flag(enabled)])
            printer.note("\(enabled ? "Enabled" : "Disabled") \(reference.printable).")
        }
    }
}
