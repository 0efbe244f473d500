import NIOHTTP1
import RoostClient
import Testing
import TestsSupportHTTP

@testable import ManagerCommand

@Suite("What was meant by typing errors")
struct SuggestionTests {
    @Test(
        "commands",
        arguments: [
            (["instanse", "list"], "did you mean 'roost instance'?"), (["instances"], "did you mean 'roost instance'?"),
            (["instance", "lsit"], "did you mean 'roost instance list'?"),
            (["instance", "ls"], "'roost instance list'?"),
            (["-o", "json", "user", "rm", "ann"], "'roost user delete'?"), (["server"], "'roost instance'?"),
            (["api-key", "revok"], "'roost api-key revoke'?"), (["xyzzy"], "has no command 'xyzzy'"),
        ])
    func commands(arguments: [String], sentence: String) async throws {
        let unknown = try #require(UnknownCommand(arguments, root: Roost.self))
        #expect(unknown.failure.lines[0].contains(sentence))
        #expect(unknown.failure.lines[0].contains("did you mean") == (arguments != ["xyzzy"]))
        #expect(await Roost.perform(arguments) == 2)
    }

    @Test(
        "what is a command, or may be something else, is left to the parser",
        arguments: [
            ["instance", "list", "x"], ["--help"], ["instance"], ["instance", "--help"], ["help", "instance"], [],
            ["image", "update", "x"], ["--no-such-option"],
        ])
    func known(arguments: [String]) {
        #expect(UnknownCommand(arguments, root: Roost.self) == nil)
    }

    @Test("a word is near where one in three letters is wrong, and the nearest is taken")
    func nearness() {
        func nearest(_ word: String) -> String? {
            Nearness.nearest(to: word, among: ["web-1", "web-12", "database", "a"])
        }
        #expect(nearest("web1") == "web-1" && nearest("wbe-1") == "web-1" && nearest("WEB-12") == "web-12")
        #expect(nearest("databsae") == "database" && nearest("x") == nil && nearest("mail") == nil)
        #expect(Nearness.distance(Array("kitten".unicodeScalars), Array("sitting".unicodeScalars)) == 3)
        #expect(Nearness.distance(Array("ab".unicodeScalars), Array("ba".unicodeScalars)) == 1)
    }

    @Test("a name that the manager does not find is looked for among those that there are")
    func names() async throws {
        let problem = #"{"status":404,"code":"not_found","detail":"There is no image 'debain' that you may see."}"#
        try await APIClientTests.run({ request, _ in
            request.method == .POST
                ? .init(status: .notFound, body: problem)
                : .init(body: #"{"items":[{"name":"alpine"},{"name":"debian"}],"next":null}"#)
        }) { client, server in
            let failure = await #expect(throws: Failure.self) { _ = try await client.post("/v1/instances") }
            #expect(failure?.lines.last == "  did you mean 'debian'?")
            #expect(server.requests[1].path == "/v1/images?limit=1000")
        }
    }

    @Test("where the list cannot be had, or nothing is near, there is the manager's word alone")
    func noHint() async throws {
        let problem = #"{"status":404,"code":"not_found","detail":"There is no user 'ann' that you may see."}"#
        try await APIClientTests.run({ _, _ in .init(status: .notFound, body: problem) }) { client, server in
            let failure = await #expect(throws: Failure.self) { _ = try await client.get("/v1/users/ann") }
            #expect(failure?.lines.count == 1 && server.requests.count == 2)
        }
        let other = Problem(status: 404, body: Array(#"{"code":"not_found","detail":"Nothing is served here."}"#.utf8))
        #expect(MissingName(other) == nil)
    }
}
