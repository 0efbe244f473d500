import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerPlacement

@Suite("Devices of a host")
struct DeviceTests {
    /// Devices of one alias: for each a group and a NUMA node.
    private static func devices(_ places: [(group: Int32, numaNode: Int?)]) -> [DeviceSnapshot] {
        places.enumerated().map {
            DeviceSnapshot(
                address: "\($0.offset)", numaNode: $0.element.numaNode, group: $0.element.group, aliases: 1)
        }
    }

    private static func chosen(_ count: Int, of devices: [DeviceSnapshot]) -> [Int]? {
        DeviceRequest.choose([DeviceRequest(alias: 0, count: count)], from: devices)?.positions
    }

    @Test("are taken in whole groups, with as few to spare as can be")
    func groups() {
        let board = Self.devices([(0, nil), (0, nil), (0, nil), (0, nil), (1, nil), (2, nil), (3, nil), (3, nil)])
        #expect(Self.chosen(1, of: board) == [4])
        #expect(Self.chosen(2, of: board) == [4, 5])
        #expect(Self.chosen(4, of: board)?.count == 4)
        #expect(Self.chosen(8, of: board)?.count == 8)
        #expect(Self.chosen(9, of: board) == nil)
        let three = Self.devices([
            (0, nil), (0, nil), (0, nil), (0, nil), (1, nil), (1, nil), (1, nil), (2, nil), (2, nil), (2, nil),
        ])
        #expect(Self.chosen(4, of: three) == [0, 1, 2, 3])
    }

    @Test("are taken on one NUMA node where one has enough, and there where fewest are left")
    func nearness() {
        var devices = Self.devices([(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, nil)])
        #expect(Self.chosen(2, of: devices) == [3, 4])
        #expect(Self.chosen(3, of: devices) == [0, 1, 2])
        #expect(Self.chosen(4, of: devices)?.count == 4)
        devices[3].isFree = false
        #expect(Self.chosen(2, of: devices) == [0, 1])
        #expect(Self.chosen(1, of: devices) == [4])
    }

    @Test("with several aliases serve the one that has no other", arguments: 0..<200)
    func severalAliases(seed: Int) {
        var random = SeededNumbers(seed: seed)
        let devices = (0..<Int.random(in: 0...7, using: &random)).map { index in
            DeviceSnapshot(
                address: "\(index)", numaNode: 0, group: Int32(index), aliases: .random(in: 0..<8, using: &random))
        }
        let requests = [0, 1, 2].map { DeviceRequest(alias: $0, count: .random(in: 1...2, using: &random)) }
        let found = DeviceRequest.choose(requests, from: devices)?.positions
        let isEnough = SimplePlacement.isEnough(devices, requests)
        #expect((found != nil) == isEnough)
        guard let found else { return }
        #expect(SimplePlacement.isEnough(found.map { devices[$0] }, requests))
        #expect(found.count == requests.reduce(0) { $0 + $1.count })
    }
}
