import ArgumentParser
import NIOHTTP1
import RoostClient
import Testing
import TestsSupportHTTP

@testable import ManagerCommand

@Suite("roost placement explain")
struct PlacementCommandTests {
    private static func parsed(_ words: [String]) throws -> PlacementCommand.Explain {
        try #require(try Roost.parseAsRoot(["placement", "explain"] + words) as? PlacementCommand.Explain)
    }

    private static let answer = """
        {"nodes":7,"candidates":2,
         "filters":[{"filter":"enabled","removed":0,"nodes":[]},
                    {"filter":"aggregates","removed":4,"nodes":["cn1","cn2"]},
                    {"filter":"ram","removed":1,"nodes":["cn9"]}],
         "ranking":[{"node":"cn4","weight":1.125,"room":0.875,"image":0.25,"host":0,"group":0,"devices":0},
                    {"node":"cn3","weight":-1.25,"room":0.75,"image":0,"host":-2,"group":0,"devices":0}]}
        """

    private static func json(_ text: String) throws -> JSON { try JSONReader.read(Array(text.utf8)) }

    @Test("asks for what its options say, and for nothing that was left out")
    func question() async throws {
        try await APIClientTests.run({ _, _ in .init(body: Self.answer) }) { client, server in
            let all = try Self.parsed([
                "--flavor", "small", "--image", "debian", "--zone", "denver", "--node", "cn1", "--node", "cn2",
                "--exclude-node", "cn3", "--server-group", "web", "--limit", "5",
            ])
            #expect(try await all.ask(client) == Self.json(Self.answer))
            _ = try await Self.parsed(["--flavor", "small"]).ask(client)
            #expect(server.requests.map(\.path) == Array(repeating: "/v1/placement/explain", count: 2))
            #expect(
                server.requests.map(\.text) == [
                    #"{"flavor":"small","image":"debian","availability_zone":"denver","server_group":"web","nodes":["cn1","cn2"],"#
                        + #""exclude_nodes":["cn3"],"limit":5}"#,
                    #"{"flavor":"small","limit":20}"#,
                ])
        }
    }

    @Test("a refusal is told in the manager's words")
    func refusal() async throws {
        let body = #"{"status":404,"code":"not_found","detail":"There is no availability zone 'x'; there is none."}"#
        try await APIClientTests.run({ _, _ in .init(status: .notFound, body: body) }) { client, _ in
            let failure = await #expect(throws: Failure.self) {
                _ = try await Self.parsed(["--flavor", "small", "--zone", "x"]).ask(client)
            }
            #expect(failure?.sentence.contains("availability zone 'x'") == true && failure?.exitStatus == 1)
        }
    }

    @Test("prints the filters that removed somebody, an empty line, and the ranking; the note counts")
    func table() throws {
        let report = PlacementCommand.Explain.report(try Self.json(Self.answer), TableTests.printer(.table))
        #expect(
            report.text == """
                FILTER      REMOVED  NODES
                aggregates        4  cn1 cn2
                ram               1  cn9

                NODE  WEIGHT   ROOM  IMAGE  HOST  GROUP  DEVICES
                cn4    1.125  0.875  0.250     0      0        0
                cn3   -1.250  0.750      0    -2      0        0
                """)
        #expect(report.note == "2 of 7 nodes can take the instance.")
    }

    @Test("says so where no node can take it, and prints no empty table")
    func nobody() throws {
        let answer = try Self.json(
            """
            {"nodes":3,"candidates":0,"filters":[{"filter":"vcpus","removed":3,"nodes":["a","b","c"]}],"ranking":[]}
            """)
        let report = PlacementCommand.Explain.report(answer, TableTests.printer(.table))
        #expect(report.text == "FILTER  REMOVED  NODES\nvcpus         3  a b c")
        #expect(report.note == "Of 3 nodes none can take the instance.")
    }

    @Test("for programs: JSON is the API's own, CSV the ranking as it is")
    func formats() throws {
        let answer = try Self.json(Self.answer)
        let json = PlacementCommand.Explain.report(answer, TableTests.printer(.json))
        #expect(try Self.json(json.text) == answer && json.note == nil)
        let csv = PlacementCommand.Explain.report(answer, TableTests.printer(.csv))
        #expect(
            csv.text == """
                node,weight,room,image,host,group,devices
                cn4,1.125,0.875,0.25,0,0,0
                cn3,-1.25,0.75,0,-2,0,0
                """)
        #expect(csv.note == nil)
    }

    @Test(
        "a flavor is needed, and the limit is the API's",
        arguments: [
            [], ["--flavor", "a", "--limit", "0"], ["--flavor", "a", "--limit", "1001"], ["--flavor", "a", "b"],
        ])
    func usage(wrong: [String]) async {
        #expect(await Roost.perform(["placement", "explain"] + wrong) == 2)
    }
}
