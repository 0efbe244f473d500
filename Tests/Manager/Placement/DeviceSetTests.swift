import Testing
import TestsSupportRandomness

@testable import ManagerPlacement

/// GPUs that an NVSwitch joins: what goes to a guest is one whole set (`DeviceRule.Action.partition`).
@Suite("Sets of devices")
struct DeviceSetTests {
    /// Eight GPUs as NVIDIA Fabric Manager's table for such a board has them: one set of 8, two of 4, four of 2, eight of 1.
    private static func board(taken: Set<Int> = []) -> [DeviceSnapshot] {
        (0..<8).map { index in
            DeviceSnapshot(
                address: "\(index)", numaNode: index / 4, group: Int32(index), aliases: 1,
                isFree: !taken.contains(index), isPartitioned: true,
                sets: [0, Int32(1 + index / 4), Int32(3 + index / 2), Int32(7 + index)])
        }
    }

    private static func chosen(_ count: Int, of devices: [DeviceSnapshot]) -> [Int]? {
        DeviceRequest.choose([DeviceRequest(alias: 0, count: count)], from: devices)?.positions
    }

    @Test("one takes the smallest hole, so that the larger sets stay whole; no number that is no set is given")
    func bestFit() {
        #expect(Self.chosen(8, of: Self.board()) == Array(0..<8))
        #expect(Self.chosen(1, of: Self.board()) == [0])
        #expect(Self.chosen(1, of: Self.board(taken: [0])) == [1])
        #expect(Self.chosen(1, of: Self.board(taken: [5, 0, 1])) == [4])
        #expect(Self.chosen(2, of: Self.board(taken: [5])) == [6, 7])
        #expect(Self.chosen(4, of: Self.board(taken: [5])) == [0, 1, 2, 3])
        for count in [3, 5, 6, 7, 9] { #expect(Self.chosen(count, of: Self.board()) == nil) }
        // Four are free, and three of them on one side: no four that go together.
        #expect(Self.chosen(4, of: Self.board(taken: [0, 4, 5, 6])) == nil)
        #expect(FreeDevices(Self.board(taken: [0, 4, 5, 6])).count == 4)
    }

    @Test("what is in no set is never given, and what is joined by no rule goes first")
    func withOthers() {
        var devices = Self.board()
        devices[3].sets = []
        #expect(Self.chosen(8, of: devices) == nil && Self.chosen(7, of: devices) == [0, 1, 2, 4, 5, 6, 7])
        devices[0].sets = [Int32(7)]
        #expect(Self.chosen(1, of: devices) == [0])
        let all = Self.board() + [DeviceSnapshot(address: "x", numaNode: 1, group: 90, aliases: 1)]
        #expect(Self.chosen(1, of: all) == [8])
        let network = Self.board() + [DeviceSnapshot(address: "x", numaNode: 1, group: 90, aliases: 2)]
        let requests = [DeviceRequest(alias: 0, count: 4), DeviceRequest(alias: 1, count: 1)]
        #expect(DeviceRequest.choose(requests, from: network)?.positions == [4, 5, 6, 7, 8])
        #expect(FreeDevices(network).fit(requests) == .near)
    }

    @Test("a group that would take along a device of another set is given to nobody; what is in no set goes along")
    func groups() {
        var devices = Self.board()
        devices[1].group = 0
        #expect(Self.chosen(1, of: devices) == [2])
        #expect(Self.chosen(2, of: devices) == [0, 1])
        devices = Self.board() + [DeviceSnapshot(address: "sound", numaNode: 0, group: 0, aliases: 0)]
        #expect(Self.chosen(2, of: devices) == [2, 3] && Self.chosen(8, of: devices)?.count == 9)
        devices[8].isFree = false
        #expect(Self.chosen(8, of: devices) == nil && Self.chosen(1, of: devices) == [1])
    }

    // MARK: Against every possibility

    private static func devices(using random: inout SeededNumbers) -> [DeviceSnapshot] {
        let isBoard = Bool.random(using: &random)
        let count = isBoard ? 8 : Int.random(in: 0...7, using: &random)
        return (0..<count).map { index in
            let isPartitioned = isBoard || .random(in: 0..<4, using: &random) > 0
            return DeviceSnapshot(
                address: "\(index)", numaNode: [0, 0, 1, nil].randomElement(using: &random) ?? nil,
                group: Int32(.random(in: 0..<8, using: &random) == 0 ? max(0, index - 1) : index),
                aliases: isBoard ? 1 : .random(in: 0..<4, using: &random),
                isFree: .random(in: 0..<5, using: &random) > 0, isPartitioned: isPartitioned,
                sets: !isPartitioned
                    ? []
                    : isBoard
                        ? [0, Int32(1 + index / 4), Int32(3 + index / 2), Int32(7 + index)]
                        : (0..<5).filter { _ in .random(in: 0..<3, using: &random) == 0 })
        }
    }

    /// All sets of a host that are whole and free, by positions of members and of what goes along.
    private static func freeSets(_ devices: [DeviceSnapshot]) -> [(members: [Int], all: Set<Int>)] {
        Set(devices.flatMap(\.sets)).sorted().compactMap { set in
            let members = devices.indices.filter { devices[$0].sets.contains(set) }
            let all = Set(devices.indices.filter { i in members.contains { devices[$0].group == devices[i].group } })
            let isFree = all.allSatisfy { devices[$0].isFree && (!devices[$0].isPartitioned || members.contains($0)) }
            return isFree ? (members, all) : nil
        }
    }

    @Test("what is chosen is what trying everything finds best, whatever the sets are", arguments: 0..<400)
    func property(seed: Int) throws {
        var random = SeededNumbers(seed: seed)
        let devices = Self.devices(using: &random)
        let requests = (0...Int.random(in: 0...1, using: &random)).map {
            DeviceRequest(alias: $0, count: [1, 1, 2, 2, 3, 4].randomElement(using: &random) ?? 1)
        }
        let host = HostTableTests.host(with: devices)
        let ways = SimplePlacement.ways(host).map { SimplePlacement.isEnough($0, requests) }
        let chosen = DeviceRequest.choice(requests, from: devices)
        #expect((chosen != nil) == ways.contains(true))
        #expect((FreeDevices(devices).fit(requests) != .none) == ways.contains(true))
        guard let chosen else { return }
        let taken = Set(chosen.map(\.device))
        // Free, in whole groups, each request with as many as it wants of those that have its alias.
        #expect(taken.allSatisfy { devices[$0].isFree })
        for index in devices.indices where taken.contains(where: { devices[$0].group == devices[index].group }) {
            #expect(taken.contains(index))
        }
        for (number, request) in requests.enumerated() {
            let serving = chosen.filter { $0.request == number }
            #expect(serving.count == request.count)
            #expect(serving.allSatisfy { devices[$0.device].aliases >> UInt64(request.alias) & 1 == 1 })
        }
        // Of what is joined, one whole set, all of which serves.
        let joined = chosen.filter { devices[$0.device].isPartitioned }
        #expect(joined.allSatisfy { $0.request != nil })
        let sets = Self.freeSets(devices)
        let isSet = sets.contains { Set($0.members) == Set(joined.map(\.device)) }
        #expect(joined.isEmpty || isSet)
        // No other set would leave more of the largest whole.
        func survivors(_ lost: Set<Int>) -> [Int] {
            (1...8).reversed().map { size in sets.count { $0.members.count == size && $0.all.isDisjoint(with: lost) } }
        }
        guard !joined.isEmpty else { return }
        for set in sets {
            // With all of this set, and not with a smaller one that is a part of it.
            let members = Set(set.members.map { devices[$0].address })
            let isEnough = SimplePlacement.ways(host).contains { way in
                Set(way.filter(\.isPartitioned).map(\.address)) == members && SimplePlacement.isEnough(way, requests)
            }
            guard isEnough else { continue }
            #expect(!survivors(taken).lexicographicallyPrecedes(survivors(set.all)))
        }
    }
}
