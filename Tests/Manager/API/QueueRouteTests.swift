import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI

@Suite("Instances that wait for room, and that yield it, over HTTP")
struct QueueRouteTests {
    private static let path = "/v1/instances"

    /// A node with room for two, a flavor `small`, one `huge` that fits nowhere, and an image `debian`.
    private static func site() async throws -> TestSite {
        let site = try await TestSite()
        let (now, owner) = (SystemTime().timestamp, site.users["root"]!.id)
        try await site.store.write { sql in
            var node = Node(id: .generate(at: now), name: "cn1", certificateSerial: "1", joinedAt: now)
            node.liveness = .alive
            node.inventory.cpuCount = 1
            node.inventory.memoryBytes = 64 << 30
            node.inventory.diskBytes = 500 << 30
            node.inventory.guestSubnet = "10.77.1.0/24"
            try sql.nodes.insert(node)
            try sql.nodes.update(node)
            for (name, vcpus) in [("small", 2), ("huge", 5)] {
                try sql.flavors.insert(
                    Flavor(id: .generate(at: now), name: name, vcpus: vcpus, ramMiB: 512, diskGiB: 4, createdAt: now))
            }
            try sql.images.insert(
                Image(
                    id: .generate(at: now), name: "debian", owner: owner, visibility: .public, status: .active,
                    sizeBytes: 2 << 30, createdAt: now, updatedAt: now))
        }
        return site
    }

    private static func body(_ name: String, _ more: [(String, JSONValue)] = []) -> JSONValue {
        .object(
            [("name", .string(name)), ("flavor", "small"), ("image", "debian")].map { JSONValue.Member($0.0, $0.1) }
                + more.map { JSONValue.Member($0.0, $0.1) })
    }

    @Test("one that waits is shown with its reason and its place, is listed as such, and can be deleted")
    func waiting() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let first = try await client.post(Self.path, Self.body("i", [("count", 2)]), as: "ann")
            #expect(first.status == 202, "\(first.text)")
            let refused = try await client.post(Self.path, Self.body("late"), as: "ann")
            #expect(refused.status == 409 && refused.code == "no_capacity", "\(refused.text)")
            let one = try await client.post(Self.path, Self.body("late", [("queue", true)]), as: "ann")
            #expect(one.status == 202, "\(one.text)")
            #expect(one.json["status"] == "QUEUED" && one.json["status_code"] == "queued")
            #expect(one.json["node"] == .null && one.json["node_id"] == .null && one.json["addresses"] == [])
            let two = try await client.post(
                Self.path, Self.body("later", [("queue", true), ("priority", -5)]), as: "bob")
            #expect(two.json["priority"] == -5 && two.json["preemptible"] == false)
            let shown = try await client.get(Self.path + "/later", as: "bob")
            #expect(shown.json["queue"]?["position"] == 2 && shown.json["queue"]?["length"] == 2, "\(shown.text)")
            let reason = shown.json["status_reason"]?.string ?? ""
            #expect(reason.hasPrefix("waits for room: flavor 'small' wants 2 vCPUs"), "\(reason)")
            #expect(reason.hasSuffix("number 2 of 2 in the queue"), "\(reason)")
            let listed = try await client.get(Self.path + "?status=QUEUED&sort=-name", as: "root")
            let items = listed.json["items"]?.array ?? []
            #expect(items.contains { $0["name"] == "late" && $0["queue"]?["position"] == 1 })
            #expect(SchemaCheck.faults(of: shown.json, in: .object(InstanceResource.schema)) == [])
            let gone = try await client.delete(Self.path + "/late", as: "ann")
            #expect(
                gone.status == 202 && gone.json["status"] == "DELETED" && gone.json["queue"] == .null, "\(gone.text)")
            #expect(try await client.get(Self.path + "/later", as: "bob").json["queue"]?["position"] == 1)
        }
    }

    @Test("what can never be had, and what contradicts itself, is refused with 422")
    func contradictions() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let huge = try await client.post(
                Self.path, ["name": "big", "flavor": "huge", "image": "debian", "queue": true], as: "ann")
            #expect(huge.status == 422 && huge.text.contains("for ever"), "\(huge.text)")
            let alone = try await client.post(Self.path, Self.body("spot", [("on_preemption", "stop")]), as: "ann")
            #expect(alone.status == 422, "\(alone.text)")
            for wrong in [("on_preemption", "flee"), ("priority", 101), ("queue", "yes")] as [(String, JSONValue)] {
                #expect(try await client.post(Self.path, Self.body("x", [wrong]), as: "ann").status == 400)
            }
        }
    }

    @Test("a priority above 0 is for operators")
    func priority() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            for (value, user, status) in [(1, "ann", 403), (0, "ann", 202), (-100, "ann", 202), (100, "root", 202)] {
                let reply = try await client.post(
                    Self.path, Self.body("i\(value + 100)", [("priority", .integer(Int64(value))), ("queue", true)]),
                    as: user)
                #expect(reply.status == status, "\(value) \(user) \(reply.text)")
            }
        }
    }

    @Test("a preemptible one yields, and an explanation says so beforehand")
    func preemption() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let spots = try await client.post(
                Self.path, Self.body("spot", [("count", 2), ("preemptible", true)]), as: "ann")
            #expect(spots.status == 202, "\(spots.text)")
            let items = spots.json["items"]?.array ?? []
            #expect(items.allSatisfy { $0["preemptible"] == true && $0["on_preemption"] == "queue" })
            let question: JSONValue = ["flavor": "small", "image": "debian"]
            let outlook = try await client.post("/v1/placement/explain", question, as: "root")
            #expect(outlook.json["possible"] == true && outlook.json["queue_position"] == 1, "\(outlook.text)")
            #expect(outlook.json["yielding"]?["node"] == "cn1")
            #expect(outlook.json["yielding"]?["instances"]?.array?.count == 1)
            let firm = try await client.post(Self.path, Self.body("firm"), as: "bob")
            #expect(firm.status == 202 && firm.json["status"] == "QUEUED", "\(firm.text)")
            #expect(firm.json["queue"]?["reserved_node"] == "cn1")
            let all = try await client.get(Self.path, as: "ann")
            let yielding = (all.json["items"]?.array ?? []).filter { $0["status"] == "STOPPING" }
            #expect(yielding.count == 1 && yielding[0]["status_code"] == "preempted", "\(all.text)")
            #expect(!all.text.contains("firm"), "whose room it is to be is nobody else's business")
        }
    }

    @Test("a stopped one whose devices are taken may wait for them")
    func starting() async throws {
        let site = try await Self.site()
        try await site.test { client async throws in
            let made = try await client.post(Self.path, Self.body("web"), as: "ann")
            #expect(made.status == 202)
            let wrong = try await client.post(Self.path + "/web/start", ["queue": "yes"], as: "ann")
            #expect(wrong.status == 400, "\(wrong.text)")
            let running = try await client.post(Self.path + "/web/start", ["queue": true], as: "ann")
            #expect(running.status == 409, "\(running.text)")
        }
    }
}
