import Foundation
import RoostClient

/// The site's API as commands see it: paths and JSON in, JSON or a failure out. All of it is `RoostClient`'s work; here what
/// went wrong becomes what a person is told.
final class APIClient: Sendable {
    let endpoint: String
    let roost: RoostClient

    init(_ site: Site, file: ProfileFile, retries: RetryPolicy = RetryPolicy()) throws(Failure) {
        endpoint = site.endpoint
        var configuration = RoostClient.Configuration(
            endpoint: site.endpoint, authorityFile: site.authorityPath, tokens: Tokens(site, file: file))
        configuration.retries = retries
        do {
            roost = try RoostClient(configuration)
        } catch {
            throw Failure(error)
        }
    }

    /// Runs `body` with a client that is closed afterwards, whatever happens.
    static func with<Result>(
        _ site: Site, file: ProfileFile, retries: RetryPolicy = RetryPolicy(),
        _ body: (APIClient) async throws -> Result
    ) async throws -> Result {
        let client = try APIClient(site, file: file, retries: retries)
        do {
            let result = try await body(client)
            try? await client.roost.shutdown()
            return result
        } catch {
            try? await client.roost.shutdown()
            throw error
        }
    }

    // MARK: Requests

    func get(_ path: String, _ query: KeyValuePairs<String, String?> = [:]) async throws -> JSON {
        try await send(Request(.get, path + Address.query(query)))
    }

    /// An answer and its entity tag.
    func getTagged(_ path: String) async throws -> (body: JSON, tag: String?) {
        try await explaining {
            let answer = try await roost.send(Request(.get, path))
            return (try answer.json(), answer.tag)
        }
    }

    /// All pages of a list, as one: the first page, with the items of all.
    func list(
        _ path: String, _ query: KeyValuePairs<String, String?> = [:], after first: String? = nil
    ) async throws -> JSON {
        try await list(path, matching: ListQuery(query, after: first))
    }

    func list(_ path: String, matching query: ListQuery) async throws -> JSON {
        var items: [JSON] = []
        var list: JSON?
        try await explaining {
            for try await page in roost.pages(path, query) {
                items += page.items
                list = list ?? page.document
            }
        }
        return (list ?? .list([])).setting("items", to: .array(items)).setting("next", to: .null)
    }

    /// A long list, of which one page is held at a time.
    func pages(
        _ path: String, _ query: KeyValuePairs<String, String?> = [:], after first: String? = nil,
        _ each: (Page<JSON>) throws -> Void
    ) async throws {
        try await explaining {
            for try await page in roost.pages(path, ListQuery(query, after: first)) { try each(page) }
        }
    }

    /// - Parameter body: `nil` for a route that takes none.
    func post(_ path: String, _ body: JSON? = [:]) async throws -> JSON {
        try await send(Request(.post, path, body: body))
    }

    func patch(_ path: String, _ body: JSON, ifMatch tag: String? = nil) async throws -> JSON {
        try await send(Request(.patch, path, body: body, ifMatch: tag))
    }

    func delete(_ path: String) async throws -> JSON { try await send(Request(.delete, path)) }

    /// A change that its path says all of.
    func post(bare path: String) async throws -> JSON { try await send(Request(.post, path)) }

    func put(_ path: String) async throws -> JSON { try await send(Request(.put, path)) }

    /// A part of a file; see ``RoostClient/RoostClient/upload(_:_:)``.
    func upload(_ path: String, _ part: RoostClient.FilePart) async throws -> JSON {
        try await explaining { try await roost.upload(path, part).json() }
    }

    private func send(_ request: Request) async throws -> JSON {
        do {
            return try await roost.send(request).json()
        } catch let error as ClientError {
            var failure = Failure(error)
            if let missing = error.problem.flatMap({ MissingName($0) }), let near = await missing.nearest(roost) {
                failure.lines.append("  did you mean '\(near.printable)'?")
            }
            throw failure
        }
    }

    /// Errors of the library as failures.
    func explaining<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch let error as ClientError {
            throw Failure(error)
        }
    }
}

/// The path of one resource of a kind, by name or ID, with further steps behind it.
func path(_ collection: String, _ reference: String, _ more: String...) throws(Failure) -> String {
    do {
        return try Address.path(collection, [reference] + more)
    } catch {
        throw Failure(error)
    }
}
