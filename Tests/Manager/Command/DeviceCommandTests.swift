import ArgumentParser
import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Commands about devices")
struct DeviceCommandTests {
    @Test(
        "a device is named by host and address, without the bus's domain too, or by its ID",
        arguments: [
            ("cn42/0000:3b:00.0", "cn42", "0000:3b:00.0"), ("cn42.site/3B:00.0", "cn42.site", "0000:3b:00.0"),
            ("cn42/10000:01:00.0", "cn42", "10000:01:00.0"),
        ])
    func names(text: String, host: String, address: String) throws {
        let name = try #require(DeviceName(argument: text))
        let place = try #require(name.place)
        #expect(place.host == host && place.address == address)
    }

    @Test("what names no device is wrong usage, and so is a rule that says too little or too much")
    func wrongUsage() async {
        #expect(DeviceName(argument: "0190a4c1-7b1e-7000-8000-000000000001") != nil)
        for wrong in [
            ["device", "show", "cn42"], ["device", "show", "/3b:00.0"], ["device", "show", "cn42/"],
            ["device", "show", "a/b/c"], ["device", "quarantine", "cn42/3b:00.0"],
            ["device", "quarantine", "--reason", "x"], ["device", "release"],
            ["device", "rule", "create", "alias", "--vendor", "10de"], ["device", "rule", "create", "alias", "K2"],
            ["device", "rule", "create", "deny", "K2", "--vendor", "10de"], ["device", "rule", "create", "ban"],
            ["device", "rule", "create", "deny", "--id", "10de"],
            ["device", "rule", "create", "deny", "--id", "10de:11bf", "--vendor", "10de"],
            ["device", "rule", "change", "K2"], ["device", "rule", "change", "K2", "--unset", "colour"],
            ["device", "rule", "delete"], ["device", "partition", "create", "--node", "x"],
            ["device", "partition", "create", "--set", "07:00.0"], ["device", "partition", "change", "x"],
            ["device", "partition", "create", "--node", "x", "--set", "1,2", "--module", "07:00.0"],
            ["quota", "set", "--user", "ann", "--devices", "k2=many"], ["quota", "set", "--user", "ann"],
        ] {
            #expect(await Roost.perform(wrong) == 2, "\(wrong)")
        }
    }

    @Test("sets are of addresses, or of modules by number")
    func sets() throws {
        func sets(_ words: [String]) throws -> [[String]] { try DeviceSetOptions.parse(words).sets }
        #expect(
            try sets(["--set", "0000:07:00.0+0a:00.0", "--set", "07:00.0"])
                == [["0000:07:00.0", "0000:0a:00.0"], ["0000:07:00.0"]])
        #expect(
            try sets(["--module", "07:00.0", "--module", "0000:0a:00.0", "--set", "1,2", "--set", "2"])
                == [["0000:07:00.0", "0000:0a:00.0"], ["0000:0a:00.0"]])
        let change = try DeviceCommand.Partition.Change.parse(["x", "--set", "07:00.0"])
        #expect(try change.body == ["sets": .array([.texts(["0000:07:00.0"])])])
    }

    @Test("a rule's options are the API's members; what is unset is null")
    func match() throws {
        func match(_ words: [String]) throws -> JSON { try DeviceMatchOptions.parse(words).match }
        #expect(try match(["--id", "10de:11bf"]) == ["vendor_id": .string("10de"), "product_id": .string("11bf")])
        #expect(
            try match([
                "--vendor", "10de", "--subsystem-vendor", "1028", "--subsystem-product", "100a", "--class", "03",
                "--address", "0000:3b:*", "--name", "*K2*", "--node", "cn*",
            ]) == [
                "vendor_id": .string("10de"), "subsystem_vendor_id": .string("1028"),
                "subsystem_product_id": .string("100a"), "class": .string("03"), "address": .string("0000:3b:*"),
                "name": .string("*K2*"), "node": .string("cn*"),
            ])
        let change = try DeviceCommand.Rule.Change.parse([
            "K2_Grid", "--alias", "K2", "--product", "11bf", "--unset", "node", "--unset", "subsystem-vendor",
        ])
        #expect(
            change.body == [
                "alias": .string("K2"),
                "match": ["product_id": .string("11bf"), "node": .null, "subsystem_vendor_id": .null],
            ])
        let described = try DeviceCommand.Rule.Change.parse(["K2_Grid", "--description", "x"])
        #expect(described.body == ["description": .string("x")])
    }

    @Test("a list goes by host and address, and is asked for what is free, by alias and by host")
    func list() throws {
        let query = try DeviceCommand.List.parse(["--free", "--alias", "K2_Grid", "--node", "cn1"]).query
        #expect(query.sort == ["node", "address"])
        #expect(
            query.parameters.compactMap { pair in pair.value.map { "\(pair.name)=\($0)" } }
                == ["free=true", "alias=K2_Grid", "node=cn1"])
        #expect(try DeviceCommand.List.parse(["--sort", "-changed_at"]).query.sort == ["-changed_at"])
    }

    @Test("the table says by what alias, where, whether it is free and why not, and since when")
    func table() {
        let device: JSON = [
            "id": .string("1"), "node": .string("cn1"), "address": .string("0000:3b:00.0"),
            "aliases": .texts(["K2_Grid", "gpu"]), "status": .string("disabled"),
            "reason": .string("its node is disabled"), "name": .string("GRID K2"), "owner": .string("ann"),
            "instance": .string("vm"), "in_use_since": .string("t"),
        ]
        #expect(
            TableWriter(columns: DeviceCommand.columns).table([device]) == """
                ALIAS        NODE  ADDRESS       STATUS    NAME     IN USE BY  INSTANCE  SINCE  REASON                ID
                K2_Grid gpu  cn1   0000:3b:00.0  disabled  GRID K2  ann        vm        t      its node is disabled  1
                """)
        let rule: JSON = [
            "action": .string("deny"), "alias": .null, "match": ["vendor_id": .string("10de"), "node": .string("cn*")],
            "description": .string(""), "id": .string("2"),
        ]
        #expect(
            TableWriter(columns: DeviceCommand.Rule.columns, headers: false).table([rule])
                == "deny  -  vendor_id=10de node=cn*  -  2")
    }
}
