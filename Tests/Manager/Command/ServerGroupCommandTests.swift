import ArgumentParser
import RoostClient
import Testing

@testable import ManagerCommand

@Suite("roost server-group")
struct ServerGroupCommandTests {
    @Test("a group is asked for as its options say")
    func create() throws {
        func body(_ words: [String]) throws -> JSON {
            let command = try Roost.parseAsRoot(["server-group", "create", "web"] + words)
            return try #require(command as? ServerGroupCommand.Create).body
        }
        #expect(
            try body(["--policy", "anti-affinity", "--max-per-host", "2"])
                == ["name": .string("web"), "policy": .string("anti-affinity"), "max_per_host": .whole(2)])
        for policy in ["affinity", "soft-affinity", "soft-anti-affinity"] {
            #expect(try body(["--policy", policy]) == ["name": .string("web"), "policy": .string(policy)])
        }
    }

    @Test(
        "what the site would refuse is wrong usage",
        arguments: [
            ["create", "web"], ["create", "web", "--policy", "apart"], ["create", "--policy", "affinity"],
            ["create", "web", "--policy", "affinity", "--max-per-host", "2"],
            ["create", "web", "--policy", "anti-affinity", "--max-per-host", "0"], ["show"], ["delete"],
        ])
    func usage(wrong: [String]) async {
        #expect(await Roost.perform(["server-group"] + wrong) == 2)
    }

    @Test("groups are listed with how many instances they have")
    func list() {
        let group: JSON = [
            "id": .string("1"), "name": .string("web"), "policy": .string("anti-affinity"), "max_per_host": .null,
            "owner": .string("ann"), "created_at": .string("t"), "instance_count": .whole(3),
        ]
        #expect(
            TableTests.printer(.table).listed(.list([group]), ServerGroupCommand.columns) == """
                NAME  POLICY         MAX PER HOST  INSTANCES  OWNER  ID
                web   anti-affinity             -          3  ann    1
                """)
    }

    @Test("instances, fillings and explanations take one")
    func elsewhere() throws {
        let words = ["--flavor", "a", "--image", "b", "--server-group", "web"]
        let create = try Roost.parseAsRoot(["instance", "create", "x"] + words) as? InstanceCommand.Create
        #expect(create?.serverGroup == "web")
        #expect((try Roost.parseAsRoot(["node", "fill"] + words) as? NodeCommand.Fill)?.serverGroup == "web")
        let explain = try Roost.parseAsRoot(["placement", "explain"] + words) as? PlacementCommand.Explain
        #expect(explain?.serverGroup == "web")
    }
}
