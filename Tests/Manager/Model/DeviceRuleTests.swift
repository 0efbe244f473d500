import ProtocolModel
import Testing

@testable import ManagerModel

@Suite("Rules about devices")
struct DeviceRuleTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    /// A GRID K2 as its host reports it.
    static func k2(_ address: String = "0000:3b:00.0") -> PCIDevice {
        var device = PCIDevice(
            address: address, vendor: 0x10DE, product: 0x11BF, classCode: 0x030000, iommuGroup: 12, numaNode: 0,
            driver: "nvidia")
        device.subsystemVendor = 0x10DE
        device.subsystemProduct = 0x100A
        device.vendorName = "NVIDIA Corporation"
        device.productName = "GK104GL [GRID K2]"
        return device
    }

    static func rule(
        _ action: DeviceRule.Action, _ alias: String = "", _ change: (inout DeviceMatch) -> Void
    ) -> DeviceRule {
        var match = DeviceMatch()
        change(&match)
        return DeviceRule(
            id: .generate(at: now), action: action, alias: alias, match: match, description: "", createdAt: now,
            updatedAt: now)
    }

    @Test(
        "a star stands for any text, also none, and nothing else stands for anything",
        arguments: [
            ("", "", true), ("*", "", true), ("*", "abc", true), ("a*c", "ac", true), ("a*c", "abbc", true),
            ("a*c", "abcd", false), ("*b*", "abc", true), ("a?c", "abc", false), ("a?c", "a?c", true),
            ("*ab*ab", "abab", true), ("*ab*ab*", "aab", false), ("**", "x", true), ("a", "A", false),
            ("a", "ab", false),
            ("*é", "caf\u{E9}", true),
        ])
    func wildcard(pattern: String, text: String, fits: Bool) {
        #expect(Wildcard(pattern).matches(text) == fits)
    }

    @Test("a pattern made to take for ever does not (P10)")
    func wildcardEnds() {
        let pattern = String(repeating: "a*", count: 128) + "b"
        let begun = ContinuousClock().now
        #expect(!Wildcard(pattern).matches(String(repeating: "a", count: 4096)))
        // Trying each star at each place would take longer than the universe has been there.
        #expect(ContinuousClock().now - begun < .seconds(30))
    }

    @Test("what is named must hold: numbers, class, address, names, node")
    func match() {
        func fits(_ change: (inout DeviceMatch) -> Void) -> Bool {
            Self.rule(.deny, "", change).match.fits(Self.k2(), on: "cn42.site")
        }
        #expect(fits { ($0.vendor, $0.product) = (0x10DE, 0x11BF) })
        #expect(!fits { ($0.vendor, $0.product) = (0x10DE, 0x11BE) })
        #expect(fits { ($0.subsystemVendor, $0.subsystemProduct) = (0x10DE, 0x100A) })
        #expect(!fits { $0.subsystemProduct = 0x100B })
        for (classPrefix, isMeant) in [("03", true), ("0300", true), ("030000", true), ("0302", false), ("30", false)] {
            #expect(fits { $0.classPrefix = classPrefix } == isMeant, "\(classPrefix)")
        }
        #expect(fits { $0.address = "0000:3b:*" } && fits { $0.address = "0000:3B:00.0" })
        #expect(!fits { $0.address = "0000:3b:*.1" })
        #expect(fits { $0.name = "*grid k2*" } && !fits { $0.name = "GRID K2" })
        #expect(fits { $0.node = "cn4*" } && fits { $0.node = "CN42.site" } && !fits { $0.node = "cn42" })
        #expect(!fits { ($0.vendor, $0.node) = (0x10DE, "other") })
        #expect(fits { _ in } && DeviceMatch().isEmpty)
    }

    @Test("a device that its host knows no names of goes by its numbers")
    func numbers() {
        let bare = PCIDevice(
            address: "0000:01:00.0", vendor: 0x1D, product: 0xABC, classCode: 0x12_00_00, iommuGroup: nil,
            numaNode: nil,
            driver: "")
        #expect(bare.name == "001d:0abc" && PCIDevice.digits(0x0302, 6) == "000302")
        #expect(Self.rule(.deny) { $0.name = "001d:*" }.match.fits(bare, on: "n"))
        #expect(!Self.rule(.deny) { $0.subsystemVendor = 0x1D }.match.fits(bare, on: "n"))
    }

    @Test(
        "aliases come from rules that fit; deny goes before them, allow is asked where there is one, the host first of all"
    )
    func offers() {
        let alias = Self.rule(.alias, "K2_Grid") { ($0.vendor, $0.product) = (0x10DE, 0x11BF) }
        let second = Self.rule(.alias, "any_gpu") { $0.classPrefix = "03" }
        let other = Self.rule(.alias, "K2_Grid") { $0.vendor = 0x1002 }
        let deny = Self.rule(.deny) { $0.address = "0000:3b:*" }
        let allow = Self.rule(.allow) { $0.node = "cn4*" }
        func offer(_ rules: [DeviceRule], _ device: PCIDevice = Self.k2(), on node: String = "cn42") -> [String] {
            let (aliases, objection) = DeviceRules(rules).offer(of: device, on: node)
            #expect(aliases.isEmpty == (objection != nil))
            return aliases.isEmpty ? [objection?.sentence ?? ""] : aliases
        }
        #expect(offer([alias, second, other]) == ["K2_Grid", "any_gpu"])
        #expect(offer([other])[0].contains("no rule gives it an alias"))
        #expect(offer([alias, deny]) == ["a rule denies it (address 0000:3b:*)"])
        #expect(offer([alias, deny], Self.k2("0000:5e:00.0")) == ["K2_Grid"])
        #expect(offer([alias, allow]) == ["K2_Grid"])
        #expect(offer([alias, allow], on: "gpu1")[0].contains("none allows this one"))
        #expect(offer([deny, allow, alias])[0].contains("denies"))
        var busy = Self.k2()
        busy.unusableReason = "the host uses it"
        #expect(offer([alias], busy) == ["the host uses it"])
        #expect(DeviceRules([alias, second, other, deny]).aliasNames == ["K2_Grid", "any_gpu"])
    }

    @Test("a rule is told in a sentence")
    func sentence() {
        let rule = Self.rule(.alias, "K2_Grid") {
            ($0.vendor, $0.product, $0.classPrefix, $0.node) = (0x10DE, 0x1BF, "03", "cn*")
        }
        #expect(rule.match.sentence == "vendor 10de, product 01bf, class 03, node cn*")
        #expect(rule.auditedFields == ["action": "alias", "match": rule.match.sentence, "alias": "K2_Grid"])
    }

    @Test("a rule about sets gives no alias and denies nothing; it is over the devices that fit it")
    func partitions() {
        var board = Self.rule(.partition) { $0.node = "hgx*" }
        board.sets = [["0000:3b:00.0", "0000:5e:00.0"]]
        let alias = Self.rule(.alias, "a") { $0.vendor = 0x10DE }
        var device = Self.device(.generate(at: Self.now))
        device.heed(DeviceRules([board, alias]), node: "hgx1")
        #expect(device.aliases == ["a"] && device.partitions == [board.id])
        device.heed(DeviceRules([board]), node: "cn1")
        #expect(device.partitions == [] && device.objection?.kind == .nameless)
        #expect(board.auditedFields["sets"] == "0000:3b:00.0+0000:5e:00.0" && board.auditedFields["alias"] == nil)
    }

    // MARK: States and numbers

    static func device(_ node: NodeID, _ aliases: [String] = ["K2_Grid"]) -> Device {
        var device = Device(id: .generate(at: now), node: node, facts: k2(), at: now)
        device.aliases = aliases
        device.objection = aliases.isEmpty ? DeviceObjection(.unlisted, "no rule") : nil
        return device
    }

    @Test("a device is free only in service, there, with an alias, on a node that is enabled and answers")
    func status() {
        let node = NodeID.generate(at: Self.now)
        func status(
            _ aliases: [String] = ["a"], enabled: Bool = true, alive: Bool = true,
            _ change: (inout Device) -> Void = { _ in }
        ) -> (HostedDevice.Status, String?) {
            var device = Self.device(node, aliases)
            change(&device)
            let hosted = HostedDevice(device, on: "cn1", isNodeEnabled: enabled, isNodeAlive: alive)
            #expect([.free, .inUse].contains(hosted.status) == (hosted.reason == nil))
            return (hosted.status, hosted.reason)
        }
        #expect(status() == (.free, nil))
        #expect(status(enabled: false) == (.disabled, "its node is disabled"))
        #expect(status(enabled: false, alive: false) == (.offline, "its node does not answer"))
        #expect(status([], alive: false) == (.unusable, "no rule"))
        #expect(status(enabled: false) { $0.isPresent = false }.0 == .absent)
        let claim = DeviceClaim(instance: .generate(at: Self.now), alias: "a", since: Self.now)
        let used = status(enabled: false, alive: false) { $0.claim = claim }
        #expect(used.0 == .inUse)
        let kept = status([], alive: false) {
            $0.isPresent = false
            $0.quarantineReason = "smells"
        }
        #expect(kept == (.quarantined, "smells"))
    }

    @Test("whoever gets none is told how many there are and where they are (GPU-07, GPU-09)")
    func shortage() {
        func sentence(_ wanted: Int, _ change: (inout DeviceNumbers) -> Void) -> String? {
            var numbers = DeviceNumbers(alias: "K2_Grid")
            change(&numbers)
            return numbers.shortage(of: wanted)
        }
        #expect(sentence(1) { _ in } == "the site has no device 'K2_Grid' that instances can be given")
        #expect(
            sentence(1) { ($0.total, $0.inUse, $0.offline, $0.disabled) = (8, 5, 1, 2) }
                == "no device 'K2_Grid' is free: of 8, 5 are in use, 1 is offline and 2 are on disabled nodes")
        #expect(sentence(1) { ($0.total, $0.inUse) = (1, 1) } == "no device 'K2_Grid' is free: of 1, 1 is in use")
        #expect(
            sentence(2) { ($0.total, $0.disabled, $0.quarantined) = (3, 1, 2) }
                == "no device 'K2_Grid' is free, and 2 are wanted: of 3, 1 is on a disabled node and 2 are out of service"
        )
        #expect(
            sentence(2) { ($0.total, $0.inUse, $0.free, $0.freeTogether) = (5, 3, 2, 1) }
                == "2 devices 'K2_Grid' on one node are wanted, and at most 1 is free: of 5, 3 are in use and 2 are free"
        )
        #expect(sentence(2) { ($0.total, $0.free, $0.freeTogether) = (5, 5, 2) } == nil)
        var numbers = DeviceNumbers(alias: "h100")
        (numbers.total, numbers.inUse, numbers.free, numbers.freeTogether) = (8, 2, 6, 6)
        #expect(
            numbers.wantOfSet(of: 4, "on any host")
                == "no whole set of 4 devices 'h100' is free on any host: of 8, 2 are in use and 6 are free")
    }
}
