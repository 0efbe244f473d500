import ManagerModel
import ManagerStore
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerLifecycle

/// Limits are kept by the transactions that claim.
@Suite("Quotas")
struct QuotaTests {
    /// Another user, in an account of their own.
    private static func add(_ name: String, account: String, to record: TestRecord) async throws -> Actor {
        let now = record.now
        let user = User(
            id: .generate(at: now), name: name, role: .user, account: account, email: nil, passwordHash: "",
            tokensValidAfter: now, createdAt: now)
        try await record.store.write { try $0.users.insert(user) }
        return Actor(user: user.id, name: name, role: .user)
    }

    private static func set(
        _ limit: Int?, _ resource: QuotaResource, flavor: FlavorID? = nil, of subject: QuotaSubject,
        in record: TestRecord
    ) async throws {
        try await record.store.write { try $0.quotas.set(limit, resource, flavor: flavor, of: subject) }
    }

    private static func use(_ subject: QuotaSubject, in record: TestRecord) async throws -> QuotaUse {
        try await record.store.read { try $0.quotas.use(of: subject) }
    }

    private static func findings(_ record: TestRecord) throws -> [StoreFinding] {
        try StoreCheck.run(record.store.location).filter { ["quota", "claim", "orphan"].contains($0.kind) }
    }

    @Test(
        "of 64 requests at once at the edge, exactly as many are served as fit; on MariaDB by two managers",
        arguments: StoreEngine.allCases, [QuotaResource.instances, .vcpus])
    func edge(_ engine: StoreEngine, _ resource: QuotaResource) async throws {
        let record = try await TestRecord(hosts: 20, engine: engine)
        let ann = try #require(record.ann.user)
        // Ann may have 13, and the account, which she shares with bob, 21: vCPUs leave a rest of 3 that no instance fits in.
        let (each, rest) = resource == .vcpus ? (4, 3) : (1, 0)
        try await Self.set(13 * each + rest, resource, of: .user(ann), in: record)
        try await Self.set(21 * each + rest, resource, of: .account("default"), in: record)
        let other = engine == .mariadb ? try Store(record.store.location) : nil
        defer { other?.close() }
        let now = record.now
        let refusals = await withTaskGroup(of: (isAnn: Bool, refusal: Refusal?).self) { group in
            for number in 0..<64 {
                let (isAnn, store) = (number % 2 == 0, number % 4 < 2 ? record.store : other ?? record.store)
                let actor = isAnn ? record.ann : record.bob
                group.addTask {
                    do {
                        _ = try await store.write { sql in
                            try Commands(in: sql, actor: actor, at: now, settings: LifecycleSettings())
                                .createInstances(
                                    InstanceCreation(name: "i\(number)", flavor: "small", image: "debian"))
                        }
                        return (isAnn, nil)
                    } catch {
                        return (isAnn, error as? Refusal ?? Refusal(.busy, "\(error)"))
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(refusals.filter { $0.refusal == nil }.count == 21)
        #expect(refusals.filter { $0.isAnn && $0.refusal == nil }.count <= 13)
        #expect(refusals.compactMap(\.refusal).allSatisfy { $0.code == .quotaExceeded }, "\(refusals)")
        #expect(try await Self.use(.account("default"), in: record).amounts[resource] == 21 * each)
        #expect(try await record.everything().instances.count == 21)
        #expect(try Self.findings(record) == [])
    }

    @Test("several that are asked for together are served whole or not at all")
    func together() async throws {
        let record = try await TestRecord(hosts: 2)
        try await Self.set(5, .instances, of: .everyUser, in: record)
        #expect(try await record.create("a", by: record.ann, count: 3).count == 3)
        let refusal = try await record.refused(.quotaExceeded, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "b", flavor: "small", image: "debian", count: 3))
        }
        #expect(
            refusal?.shortfalls == [
                QuotaShortfall(
                    holder: .user("ann", account: "default"), resource: .instances, limit: 5, used: 3, requested: 3)
            ])
        #expect(try await record.create("c", by: record.ann, count: 2).count == 2)
        #expect(try await record.create("d", by: record.bob, count: 1).count == 1, "each user has a limit of their own")
    }

    @Test("a refusal names every limit in the way, whose it is, and who can raise it, before it tells of hosts")
    func sentence() async throws {
        let record = try await TestRecord(hosts: 0)
        let eve = try await Self.add("eve", account: "physics", to: record)
        let user = QuotaSubject.user(try #require(eve.user))
        try await Self.set(3, .vcpus, of: user, in: record)
        try await Self.set(0, .instances, flavor: record.flavor.id, of: .account("physics"), in: record)
        try await Self.set(2048, .ramMiB, of: .account("physics"), in: record)
        let refusal = try await record.refused(.quotaExceeded, by: eve) {
            try $0.createInstances(InstanceCreation(name: "b", flavor: "small", image: "debian"))
        }
        #expect(refusal?.shortfalls.map(\.resource) == [.vcpus, .instances])
        #expect(refusal?.shortfalls.last?.flavor == "small")
        for part in [
            "user 'eve' may have 3 vCPUs, has 0, and would need 4 more",
            "account 'physics' may have 0 instances of flavor 'small', has 0, and would need 1 more",
            "the owner of account 'physics' or a superuser can raise the limit of user 'eve'",
            "a superuser can raise the limit of account 'physics'",
        ] {
            #expect(refusal?.sentence.contains(part) == true, "\(refusal?.sentence ?? "")")
        }
    }

    @Test("what is claimed counts until the host has nothing left of it, and what was undone never did")
    func release() async throws {
        let record = try await TestRecord(hosts: 1)
        let (user, account) = (QuotaSubject.user(try #require(record.ann.user)), QuotaSubject.account("default"))
        try await Self.set(1, .instances, of: user, in: record)
        let web = try await record.create("web", by: record.ann)[0]
        let used = try await Self.use(user, in: record)
        #expect(used.amounts.instances == 1 && used.amounts.vcpus == 4 && used.amounts.ramMiB == 2048)
        #expect(used.amounts.diskGiB == 10 && used.flavors == [record.flavor.id: 1])
        try await record.report(web.id, .running)
        try await record.request(by: record.ann) { try $0.deleteInstance("web") }
        try await record.refused(.quotaExceeded, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "next", flavor: "small", image: "debian"))
        }
        try await record.report(web.id, .deleted)
        #expect(try await Self.use(user, in: record) == QuotaUse())
        // The account's other counts are the image that root owns.
        #expect(try await Self.use(account, in: record).amounts.instances == 0)

        struct Stop: Error {}
        await #expect(throws: Stop.self) {
            try await record.request(by: record.ann) { commands -> Void in
                _ = try commands.createInstances(InstanceCreation(name: "x", flavor: "small", image: "debian"))
                throw Stop()
            }
        }
        #expect(try await Self.use(user, in: record) == QuotaUse())
        #expect(try await record.create("next", by: record.ann).count == 1)
        #expect(try Self.findings(record) == [])
    }

    @Test("images count from their announcement until they are deleted, those of disks too")
    func images() async throws {
        let record = try await TestRecord(hosts: 1)
        let user = QuotaSubject.user(try #require(record.ann.user))
        try await Self.set(1, .images, of: user, in: record)
        let announce: @Sendable (Commands) throws -> Image = {
            try $0.createImage(
                name: "mine", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .private)
        }
        try await record.request(by: record.ann, announce)
        try await record.refused(.quotaExceeded, by: record.ann, announce)
        try await record.store.write { sql in
            var node = try #require(try sql.nodes.find(name: "cn1"))
            node.inventory.copiesDisks = true
            try sql.nodes.update(node)
        }
        let web = try await record.create("web", by: record.ann)[0]
        try await record.report(web.id, .running)
        let capture: @Sendable (Commands) throws -> Image = {
            try $0.captureImage(
                name: "golden", from: "web", minDiskGiB: 0, minRAMMiB: nil, properties: [:], visibility: nil,
                by: ManagerID.generate(at: Timestamp(milliseconds: 1)))
        }
        try await record.refused(.quotaExceeded, by: record.ann, capture)
        try await record.request(by: record.ann) { try $0.deleteImage("mine") }
        try await record.request(by: record.ann, capture)
        #expect(try await Self.use(user, in: record).amounts.images == 1)
        #expect(try await Self.use(.account("default"), in: record).amounts.images == 2, "root's, too")
        #expect(try Self.findings(record) == [])
    }

    @Test("a limit of one's own takes the place of the one for everybody, also where it lifts it")
    func defaults() async throws {
        let record = try await TestRecord(hosts: 2)
        let eve = try await Self.add("eve", account: "physics", to: record)
        let user = QuotaSubject.user(try #require(eve.user))
        try await Self.set(1, .instances, of: .everyUser, in: record)
        try await Self.set(2, .instances, of: .everyAccount, in: record)
        #expect(try await record.create("a", by: eve).count == 1)
        let create: @Sendable (Commands) throws -> [Instance] = {
            try $0.createInstances(InstanceCreation(name: "b", flavor: "small", image: "debian"))
        }
        try await record.refused(.quotaExceeded, by: eve, create)
        try await Self.set(QuotaSettings.unlimited, .instances, of: user, in: record)
        try await record.request(by: eve, create)
        let refusal = try await record.refused(.quotaExceeded, by: eve, create)
        #expect(refusal?.shortfalls.map(\.holder) == [.account("physics")])
        try await Self.set(3, .instances, of: .account("physics"), in: record)
        try await record.request(by: eve, create)
        try await record.refused(.quotaExceeded, by: eve, create)
        try await Self.set(nil, .instances, of: .account("physics"), in: record)
        try await Self.set(nil, .instances, of: .everyAccount, in: record)
        try await record.request(by: eve, create)
    }

    @Test("a limit that was lowered below what is used stops only claims of the same thing")
    func lowered() async throws {
        let record = try await TestRecord(hosts: 1)
        let user = QuotaSubject.user(try #require(record.ann.user))
        _ = try await record.create("a", by: record.ann)
        try await Self.set(0, .instances, of: user, in: record)
        try await Self.set(0, .gpus, of: user, in: record)
        try await record.request(by: record.ann) {
            _ = try $0.createImage(
                name: "mine", format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .private)
        }
        let refusal = try await record.refused(.quotaExceeded, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "b", flavor: "small", image: "debian"))
        }
        #expect(refusal?.shortfalls.map(\.resource) == [.instances], "it asks for no GPU")
    }

    @Test("a cap holds for its flavor alone (CTL-43), and goes with it")
    func caps() async throws {
        let record = try await TestRecord(hosts: 2)
        let big = try await record.request(by: record.root) {
            try $0.createFlavor(name: "big", vcpus: 1, ramMiB: 1, diskGiB: 10, properties: ["gpus": "2"])
        }
        try await Self.set(1, .instances, flavor: big.id, of: .everyUser, in: record)
        let create: @Sendable (Commands) throws -> [Instance] = {
            try $0.createInstances(InstanceCreation(name: "b", flavor: "big", image: "debian"))
        }
        let made = try await record.request(by: record.ann, create)[0]
        #expect(made.gpus == 2)
        try await record.refused(.quotaExceeded, by: record.ann, create)
        try await record.request(by: record.bob, create)
        #expect(try await record.create("other", by: record.ann, count: 3).count == 3)
        #expect(try await Self.use(.account("default"), in: record).amounts.gpus == 4)

        let all = try await record.everything().instances.filter { $0.flavor == big.id }
        for instance in all {
            try await record.request(by: record.root) { try $0.deleteInstance("\(instance.id)") }
            try await record.report(instance.id, .deleted)
        }
        try await record.request(by: record.root) { try $0.deleteFlavor("big") }
        #expect(try await record.store.read { try $0.quotas.settings(of: .everyUser) } == QuotaSettings())
        #expect(try Self.findings(record) == [])
    }

    @Test("whatever happens in whatever order, counters are what a model says, and no limit is broken")
    func model() async throws {
        let record = try await TestRecord(hosts: 6)
        var random = SeededNumbers(state: 20_261_129)
        let eve = try await Self.add("eve", account: "physics", to: record)
        let people = [(record.ann, "default"), (record.bob, "default"), (eve, "physics")]
        try await Self.set(9, .instances, of: .everyUser, in: record)
        try await Self.set(52, .vcpus, of: .everyAccount, in: record)
        try await Self.giveCards(8, to: 6, in: record)
        try await record.store.write { sql in
            try sql.quotas.set(6, .devices("k2"), of: .everyUser)
            try sql.quotas.set(10, .devices("k2"), of: .account("default"))
        }
        var kept: [(id: InstanceID, person: Int, cards: Int)] = []
        for step in 0..<300 {
            let person = Int.random(in: 0..<people.count, using: &random)
            if Int.random(in: 0..<5, using: &random) < 3 {
                let count = Int.random(in: 1...3, using: &random)
                let mine = kept.count { $0.person == person }
                let accounts = kept.count { people[$0.person].1 == people[person].1 }
                let cards = Int.random(in: 0..<3, using: &random) == 0 ? 2 : 0
                func held(_ counts: (Int) -> Bool) -> Int {
                    kept.filter { counts($0.person) }.reduce(0) { $0 + $1.cards }
                }
                let mineOfCards = held { $0 == person }
                let accountsOfCards = held { people[$0].1 == "default" }
                let fits =
                    mine + count <= 9 && (accounts + count) * 4 <= 52 && kept.count + count <= 24
                    && (cards == 0 || mineOfCards + count * cards <= 6)
                    && (cards == 0 || people[person].1 != "default" || accountsOfCards + count * cards <= 10)
                do {
                    let actor = people[person].0
                    let made = try await record.request(by: actor) {
                        try $0.createInstances(
                            InstanceCreation(
                                name: "i\(step)", flavor: cards > 0 ? "card" : "small", image: "debian", count: count))
                    }
                    #expect(fits)
                    kept += made.map { ($0.id, person, cards) }
                } catch let refusal as Refusal {
                    #expect(!fits && [.quotaExceeded, .noCapacity].contains(refusal.code), "\(refusal)")
                }
            } else if let index = kept.indices.randomElement(using: &random) {
                let (id, person, _) = kept.remove(at: index)
                try await record.request(by: people[person].0) { _ = try $0.deleteInstance("\(id)") }
                try await record.report(id, .deleted)
            }
            guard step % 50 == 49 else { continue }
            for (person, (actor, _)) in people.enumerated() {
                let used = try await Self.use(.user(try #require(actor.user)), in: record)
                #expect(used.amounts.instances == kept.count { $0.person == person })
                let cards = kept.filter { $0.person == person }.reduce(0) { $0 + $1.cards }
                #expect(used.devices["k2"] ?? 0 == cards && used.amounts.gpus == cards)
            }
            #expect(try Self.findings(record) == [])
        }
    }

    /// Cards called `k2` in each of so many nodes, and a flavor of which an instance has two.
    private static func giveCards(_ count: Int, to nodes: Int, in record: TestRecord) async throws {
        try await record.request(by: record.root) { commands in
            var match = DeviceMatch()
            match.vendor = 0x10DE
            _ = try commands.createDeviceRule(.alias, alias: "k2", match: match, description: "")
            _ = try commands.createFlavor(
                name: "card", vcpus: 4, ramMiB: 2048, diskGiB: 10, properties: ["pci_passthrough:alias": "k2:2"])
        }
        let now = record.now
        for number in 1...nodes {
            let node = try await record.node("cn\(number)")
            var inventory = node.inventory
            inventory.pciDevices = (0..<count).map {
                PCIDevice(
                    address: "0000:0\($0):00.0", vendor: 0x10DE, product: 1, classCode: 0x030000, iommuGroup: $0,
                    numaNode: 0, driver: "")
            }
            let told = inventory
            try await record.store.write {
                try FleetReports(in: $0, at: now).takeInventory(node.id, told, location: "")
            }
        }
    }

    @Test(
        "of 64 requests at once for 8 devices by alias exactly 3 are served, and the others are told whose limit it is",
        arguments: StoreEngine.allCases)
    func devices(_ engine: StoreEngine) async throws {
        let record = try await TestRecord(hosts: 4, engine: engine)
        try await Self.giveCards(4, to: 4, in: record)
        let ann = try #require(record.ann.user)
        try await record.request(by: record.root) { commands in
            _ = try commands.changeQuota(
                of: try commands.user("ann"), QuotaChange(limits: [.gpus: -1], devices: ["k2": 7]))
        }
        let refusals = await withTaskGroup(of: Refusal?.self) { group in
            for number in 0..<64 {
                group.addTask {
                    do {
                        try await record.request(by: record.ann) {
                            _ = try $0.createInstances(
                                InstanceCreation(name: "i\(number)", flavor: "card", image: "debian"))
                        }
                        return nil
                    } catch { return error as? Refusal ?? Refusal(.busy, "\(error)") }
                }
            }
            return await group.reduce(into: [Refusal?]()) { $0.append($1) }.compactMap(\.self)
        }
        #expect(refusals.count == 61 && refusals.allSatisfy { $0.code == .quotaExceeded }, "\(refusals)")
        #expect(
            refusals.first?.shortfalls == [
                QuotaShortfall(
                    holder: .user("ann", account: "default"), resource: .gpus, alias: "k2", limit: 7, used: 6,
                    requested: 2)
            ])
        #expect(
            refusals.first?.sentence.hasPrefix("user 'ann' may have 7 devices 'k2', has 6, and would need 2 more")
                == true)
        #expect(try await Self.use(.user(ann), in: record).devices == ["k2": 6])
        #expect(try await Self.use(.account("default"), in: record).devices == ["k2": 6])
        // Instances without devices are not concerned, and bob has no limit.
        #expect(try await record.create("plain", by: record.ann).count == 1)
        try await record.request(by: record.bob) {
            _ = try $0.createInstances(InstanceCreation(name: "b", flavor: "card", image: "debian"))
        }
        #expect(try Self.findings(record) == [])
        let summary = try await record.request(by: record.root) { try $0.quotaSummary() }
        let row = try #require(summary.rows.first { $0.alias == "k2" })
        #expect(row.used == 8 && row.capacity == 16)
        // Counted anew it is the same, and a counter that drifted is found.
        try await record.store.write { try $0.quotas.recount([.user(ann), .account("default")]) }
        #expect(try Self.findings(record) == [])
        #expect(try await Self.use(.account("default"), in: record).devices == ["k2": 8])
        try await record.store.write { try $0.quotas.remove(.user(ann)) }
        #expect(try Self.findings(record).contains { $0.sentence == "it counts 0 devices, and there are 6" })
        try await record.store.write { try $0.quotas.recountAll() }
        #expect(try Self.findings(record) == [])
    }

    @Test("a limit of devices is of an alias that there is; one that is left from another time can be taken away")
    func aliasOfLimit() async throws {
        let record = try await TestRecord(hosts: 1)
        try await Self.giveCards(1, to: 1, in: record)
        let refusal = try await record.refused(.invalidRequest, by: record.root) {
            try $0.changeQuotaDefaults(users: QuotaChange(devices: ["k3": 1]), accounts: QuotaChange())
        }
        #expect(refusal?.fields.map(\.pointer) == ["/users/devices/k3"])
        let set = try await record.request(by: record.root) { commands in
            try commands.changeQuotaDefaults(
                users: QuotaChange(devices: ["k2": 2]), accounts: QuotaChange(devices: ["k2": 4]))
        }
        #expect(set.users.devices == ["k2": 2] && set.accounts.devices == ["k2": 4])
        #expect(try await record.request(by: record.root) { try $0.quota(ofUser: "ann") }.inEffect.devices == ["k2": 2])
        try await record.request(by: record.root) { commands in
            _ = try commands.deleteFlavor("card")
            for rule in try commands.sql.devices.rules() { _ = try commands.deleteDeviceRule("\(rule.id)") }
        }
        let taken = try await record.request(by: record.root) { commands in
            try commands.changeQuotaDefaults(users: QuotaChange(devices: ["k2": nil]), accounts: QuotaChange())
        }
        #expect(taken.users.devices == [:])
        let event = try await record.store.read {
            try $0.events.list(after: 0, .everything, limit: 1000).last { $0.kind == "quota.defaults_changed" }
        }
        #expect(event?.changes["devices.k2"] == .init(before: "2", after: nil))
    }

    @Test("what the owner of an account gives is within what the account has, whatever is asked for (SEC-08)")
    func delegation() async throws {
        let record = try await TestRecord(hosts: 0)
        let eve = try await Self.add("eve", account: "physics", to: record)
        let carl = Actor(
            user: try await Self.add("carl", account: "physics", to: record).user, name: "carl",
            rights: .builtIn(.accountOwner), account: "physics")
        let now = record.now
        try await record.store.write {
            try $0.accounts.insert(Account(id: .generate(at: now), name: "physics", createdAt: now))
        }
        var random = SeededNumbers(state: 8)
        // What a superuser has set, by whose it is.
        var set: [QuotaSubject: [QuotaResource: Int]] = [:]
        var (given, refused) = (0, 0)
        for _ in 0..<400 {
            let resource = [QuotaResource.instances, .gpus].randomElement(using: &random) ?? .gpus
            let value = Bool.random(using: &random) ? Int.random(in: -1...6, using: &random) : nil
            if Int.random(in: 0..<3, using: &random) == 0 {
                let subject = [QuotaSubject.account("physics"), .everyAccount, .everyUser].randomElement(
                    using: &random)!
                try await Self.set(value, resource, of: subject, in: record)
                set[subject, default: [:]][resource] = value
                continue
            }
            func limit(_ subject: QuotaSubject) -> Int? { set[subject]?[resource] }
            let account = limit(.account("physics")) ?? limit(.everyAccount)
            let most = account.flatMap { $0 < 0 ? nil : $0 } ?? limit(.everyUser).flatMap { $0 < 0 ? nil : $0 }
            let isWithin = value.map { value in most.map { (0...$0).contains(value) } ?? true } ?? true
            do {
                let quota = try await record.request(by: carl) { commands in
                    try commands.changeQuota(of: try commands.user("eve"), QuotaChange(limits: [resource: value]))
                }
                #expect(isWithin && quota.settings.limits[resource] == value)
                given += 1
            } catch let refusal as Refusal {
                #expect(!isWithin && refusal.code == .forbidden)
                refused += 1
            }
        }
        #expect(given > 100 && refused > 20)
        try await record.refused(.forbidden, by: carl) { commands in
            try commands.changeQuota(of: try commands.user("carl"), QuotaChange(limits: [.gpus: 0]))
        }
        try await record.refused(.notFound, by: carl) { try $0.quota(ofUser: "ann") }
        try await record.refused(.notFound, by: eve) { try $0.quota(ofUser: "carl") }
    }

    @Test("counters set right by counting anew are those that were kept")
    func recount() async throws {
        let record = try await TestRecord(hosts: 2)
        let eve = try await Self.add("eve", account: "physics", to: record)
        for actor in [record.ann, record.bob, eve] { _ = try await record.create("a", by: actor, count: 2) }
        let subjects: [QuotaSubject] =
            try [record.ann, record.bob, eve].map { .user(try #require($0.user)) }
            + [.account("default"), .account("physics")]
        let before = try await record.store.read { sql in try subjects.map { try sql.quotas.use(of: $0) } }
        let after = try await record.store.write { sql in
            try sql.quotas.recount(subjects)
            return try subjects.map { try sql.quotas.use(of: $0) }
        }
        #expect(after == before)
        let whole = try await record.store.write { sql in
            try sql.quotas.recountAll()
            return try subjects.map { try sql.quotas.use(of: $0) }
        }
        #expect(whole == before)

        // Eve goes over to the other account, with her images and not with what her instances were recorded for.
        let moved = try #require(eve.user)
        try await record.store.write { sql in
            var user = try #require(try sql.users.find(moved))
            user.account = "default"
            try sql.users.update(user)
            try sql.quotas.recount([.account("default"), .account("physics")])
        }
        #expect(try Self.findings(record) == [])
    }
}
