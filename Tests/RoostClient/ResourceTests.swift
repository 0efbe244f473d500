import Foundation
import NIOHTTP1
import Testing
import TestsSupportHTTP

@testable import RoostClient

@Suite("Resources, over a socket")
struct ResourceTests {
    private static func flavor(_ name: String) -> String {
        #"{"id":"1","name":"\#(name)","vcpus":1,"ram_mib":512,"disk_gib":4,"properties":{"gpu_count":"2"},"#
            + #""created_at":"2026-11-29T01:02:03.456Z","a_later_member":[1]}"#
    }

    @Test("a list is fetched as it is read, a page at a time")
    func listing() async throws {
        try await withServer({ request, _ in
            request.path.contains("after=c%2F1")
                ? .init(body: #"{"items":[\#(Self.flavor("c"))],"next":null}"#)
                : .init(body: #"{"items":[\#(Self.flavor("a")),\#(Self.flavor("b"))],"next":"c/1"}"#)
        }) { client, server in
            var query: ListQuery = ["name": nil, "status": "x"]
            query.sort = ["name", "-created_at"]
            var names: [String] = []
            for try await flavor in client.flavors.list(query) {
                names.append(flavor.name)
                #expect(server.requests.count == (names.count < 3 ? 1 : 2))
            }
            #expect(names == ["a", "b", "c"])
            #expect(server.requests[0].path == "/v1/flavors?status=x&sort=name%2C-created_at&limit=1000")
            #expect(try await client.flavors.list().all().count == 3)
        }
    }

    @Test("members have the API's names, both ways, and members of maps have their own")
    func names() async throws {
        try await withServer({ _, _ in .init(status: .created, body: Self.flavor("a")) }) { client, server in
            let flavor = try await client.flavors.create(.init(name: "a", vcpus: 1, ramMiB: 512, diskGiB: 4))
            #expect(flavor.ramMiB == 512 && flavor.properties == ["gpu_count": "2"])
            #expect(abs(flavor.createdAt.timeIntervalSince1970 - 1_795_914_123.456) < 0.0005)
            let sent = try JSONReader.read(server.requests[0].body)
            #expect(sent["ram_mib"].integer == 512 && sent["name"].text == "a")
            #expect(sent["properties"] == .null && !sent.members.contains { $0.key == "properties" })
        }
    }

    @Test("a change says what is set, what is taken away, and nothing of the rest")
    func change() throws {
        var change = User.Change(email: .remove)
        change.unixName = .set("ann")
        #expect(
            try Coding.encode(change).members.sorted { $0.key < $1.key }
                == [.init(key: "email", value: .null), .init(key: "unix_name", value: .string("ann"))])
        let quota = Quota.Change(limits: ["vcpus": 4, "gpus": nil])
        #expect(try Coding.encode(quota)["limits"].members.count == 2)
        #expect(try Coding.encode(quota)["limits"]["vcpus"].integer == 4)
        #expect(!(try Coding.encode(quota)).members.contains { $0.key == "flavor_caps" })
    }

    @Test("a rule about devices is sent as it is named; a change takes away what is not looked at any more")
    func deviceRule() async throws {
        let rule =
            #"{"id":"1","action":"alias","alias":"K2_Grid","match":{"vendor_id":"10de","class":"03"},"sets":[],"description":"","#
            + #""created_at":"2026-11-29T01:02:03Z","updated_at":"2026-11-29T01:02:03Z"}"#
        let device =
            #"{"id":"2","node":"cn1","address":"0000:3b:00.0","aliases":["K2_Grid"],"status":"free","reason":"","name":"K2","#
            + #""vendor_id":"10de","product_id":"11bf","class":"030000","group_members":[],"numa_node":null,"#
            + #""quarantined_at":null,"first_seen_at":"2026-11-29T01:02:03Z","changed_at":"2026-11-29T01:02:03Z"}"#
        try await withServer({ request, _ in .init(body: request.path.contains("rules") ? rule : device) }) {
            client, server in
            let made = try await client.deviceRules.create(
                .init(action: "alias", alias: "K2_Grid", match: .init(vendorID: "10de", productID: "11bf")))
            #expect(made.match.deviceClass == "03" && made.match.productID == nil)
            var match = DeviceRule.MatchChange()
            match.node = .remove
            match.deviceClass = .set("03")
            _ = try await client.deviceRules.change("1", .init(match: match))
            let sent = try server.requests.map {
                try JSONReader.read($0.body)["match"].members.sorted { $0.key < $1.key }
            }
            #expect(
                sent == [
                    [
                        .init(key: "product_id", value: .string("11bf")),
                        .init(key: "vendor_id", value: .string("10de")),
                    ],
                    [.init(key: "class", value: .string("03")), .init(key: "node", value: .null)],
                ])
            #expect(try await client.devices.quarantine("2", reason: "x").aliases == ["K2_Grid"])
            #expect(try await client.devices.release("2").numaNode == nil)
            #expect(server.requests.suffix(2).map(\.path) == ["/v1/devices/2/quarantine", "/v1/devices/2/release"])
        }
    }

    @Test("what is changed only as it was seen carries its tag; the key of a creation is the caller's")
    func conditions() async throws {
        try await withServer({ _, _ in .init(body: Self.flavor("a")) }) { client, server in
            let seen = try await client.flavors.tagged("a b")
            _ = try await client.flavors.change("a", .init(name: "b"), ifMatch: seen.tag)
            _ = try await client.flavors.create(
                .init(name: "a", vcpus: 1, ramMiB: 512, diskGiB: 4), idempotencyKey: "mine")
            #expect(server.requests[0].path == "/v1/flavors/a%20b")
            #expect(server.requests[1].headers.first(name: "if-match") == "\"1\"")
            #expect(server.requests[2].headers.first(name: "idempotency-key") == "mine")
            await #expect(throws: ClientError.self) { _ = try await client.flavors.show("..") }
            #expect(server.requests.count == 3)
        }
    }

    @Test("states that a newer manager has are no error; answers of another shape are, and say where")
    func newer() throws {
        let status: Instance.Status = try Coding.decode(Array(#""SHELVED""#.utf8))
        #expect(status.rawValue == "SHELVED" && status != .active)
        let error = #expect(throws: ClientError.self) {
            let _: Flavor = try Coding.decode(Array(#"{"id":"1","name":"a","vcpus":"many"}"#.utf8))
        }
        #expect(error?.description.contains("vcpus") == true)
    }

    @Test("a refusal is an error with its code, its fields and what the manager logged it under")
    func refusal() async throws {
        let body = #"{"status":409,"code":"in_use","title":"T","detail":"Still in use.","operation_id":"o"}"#
        try await withServer({ _, _ in
            .init(status: .conflict, body: body, headers: [("x-request-id", "r1"), ("retry-after", "9")])
        }) { client, _ in
            let error = await #expect(throws: ClientError.self) { try await client.flavors.delete("a") }
            #expect(error?.problem?.code == "in_use" && error?.problem?.requestID == "r1")
            #expect(error?.problem?.operationID == "o" && error?.problem?.retryAfter == .seconds(9))
            #expect(error?.description == "Still in use.")
        }
    }

    @Test("an operation that fails is thrown as it ended")
    func operation() async throws {
        func document(_ status: String, _ error: String) -> String {
            #"{"id":"o","kind":"instance.create","status":"\#(status)","progress":10,"paused":false,"steps":[],"#
                + #""resource":{"kind":"instance","id":"1","name":"a"},"result":{},"error":\#(error),"#
                + #""created_at":"2026-11-29T01:02:03.456Z","finished_at":null,"owner":"ann"}"#
        }
        let (running, failed) = (document("running", "null"), document("failed", #"{"code":"x","detail":"no disk"}"#))
        try await withServer({ _, count in .init(body: count < 3 ? running : failed) }) { client, server in
            var seen: [Int] = []
            let failure = await #expect(throws: OperationFailure.self) {
                try await client.operations.wait(for: "o") { seen.append($0.progress) }
            }
            #expect(failure?.description == "no disk" && seen == [10, 10])
            #expect(server.requests[0].path == "/v1/operations/o?wait=1")
        }
    }

    @Test("addresses in the clear are taken on the loopback alone")
    func endpoints() {
        for wrong in ["http://manager:7400", "ftp://localhost", "manager:7400", "https://h/path"] {
            #expect(throws: ClientError.self) { try RoostClient.checked(wrong) }
        }
    }
}

@Suite("The event stream, over a socket")
struct EventStreamTests {
    @Test("goes on behind the last event seen whenever the connection ends")
    func resumes() async throws {
        func event(_ number: Int) -> String { "id: \(number)\ndata: {\"sequence\":\(number)}\n\n" }
        let replies: [LoopbackServer.Reply] = [
            .init(body: event(4) + event(5)), .init(hangsUp: true), .init(status: .serviceUnavailable),
            .init(body: ": nothing new\n\n"), .init(body: event(6)),
        ]
        try await withServer({ _, count in replies[min(count, replies.count) - 1] }) { client, server in
            var seen: [Int] = []
            for try await document in client.events.documents(after: 3, ["kind": "node"], pause: .zero) {
                seen.append(document["sequence"].integer ?? 0)
                if seen.count == 3 { break }
            }
            #expect(seen == [4, 5, 6])
            let ids = server.requests.map { $0.headers.first(name: "last-event-id") }
            #expect(ids == ["3", "5", "5", "5", "5"])
            #expect(server.requests[0].path == "/v1/events?kind=node")
        }
    }

    @Test("goes on from where the manager says, though no event has come")
    func resumesWithoutEvents() async throws {
        let event = "id: 9\ndata: {\"sequence\":9}\n\n"
        let replies: [LoopbackServer.Reply] = [
            .init(body: "id: 7\n: roost events\n\n"), .init(body: event + "id: 12\n:\n\n"),
            .init(body: "id: 13\ndata: {\"sequence\":13}\n\n"),
        ]
        try await withServer({ _, count in replies[min(count, replies.count) - 1] }) { client, server in
            var seen: [Int] = []
            for try await document in client.events.documents(after: nil, [:], pause: .zero) {
                seen.append(document["sequence"].integer ?? 0)
                if seen.count == 2 { break }
            }
            #expect(seen == [9, 13])
            #expect(server.requests.map { $0.headers.first(name: "last-event-id") } == [nil, "7", "12"])
        }
    }

    @Test("who is not let in is told at once")
    func refused() async throws {
        try await withServer({ _, _ in .init(status: .forbidden, body: #"{"detail":"no"}"#) }) { client, server in
            await #expect(throws: ClientError.self) {
                for try await _ in client.events.documents(after: nil, [:], pause: .zero) {}
            }
            #expect(server.requests.count == 1)
        }
    }
}
