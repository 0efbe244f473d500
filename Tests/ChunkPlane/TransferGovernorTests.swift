import Logging
import ProtocolModel
import ProtocolTransfer
import Testing

@testable import ChunkPlane

/// Limits on real connections. What is expected is how long something takes at least, which a busy machine does not change.
@Suite(.serialized, .timeLimit(.minutes(2))) struct TransferGovernorTests {
    private let site: TestSite
    private let node = NodeID.generate(at: Timestamp(milliseconds: 7))
    private let image = ImageID.generate(at: Timestamp(milliseconds: 8))
    private let store: MemoryStore
    private static let bytes = 600_000
    private static let rate: Int64 = 1 << 20

    init() throws {
        site = try TestSite()
        var random = SystemRandomNumberGenerator()
        let noise = (0..<Self.bytes).map { _ in UInt8.random(in: 0...255, using: &random) }
        store = try MemoryStore(image: image, chunks: [noise])
    }

    /// How long it takes to pull the image, which is not compressed.
    private func pull(
        server limits: TransferLimitsValue, client own: TransferLimitsValue, _ purpose: TransferPurpose = .prefill
    ) throws -> Duration {
        var configuration = ChunkServer.Configuration(address: "127.0.0.1:0", credentials: try site.manager())
        configuration.governor = TransferGovernor(limits)
        let server = try ChunkServer(
            configuration: configuration, source: store, authorise: { _, _ in true }, verify: site.verifier(),
            logger: Logger(label: "test"))
        try server.start()
        defer { server.stop() }
        var wanted = ChunkClient.Configuration()
        wanted.governor = TransferGovernor(own)
        wanted.purpose = purpose
        let client = try ChunkClient(
            source: ChunkSource(node: nil, address: "127.0.0.1:\(server.port)"),
            context: try TLSContext(side: .client, credentials: try site.node(node)), verify: site.verifier(),
            counters: TransferCounters(), configuration: wanted)
        let began = ContinuousClock.now
        var received = 0
        try client.fetch(store.manifest, indexes: [0]) { received += $0.data.count }
        #expect(received == Self.bytes)
        return .now - began
    }

    /// All but the first slice is waited for, and a tenth of a second's bytes may have been saved up.
    private var least: Duration {
        .seconds(Double(Self.bytes - BandwidthSchedule.sliceBytes) / Double(Self.rate) - 0.1)
    }

    @Test(arguments: TransferPurpose.allCases)
    func theSenderKeepsItsLimit(purpose: TransferPurpose) throws {
        #expect(try pull(server: .init(sendBytesPerSecond: Self.rate), client: .init(), purpose) >= least)
    }

    @Test func theReceiverKeepsItsLimit() throws {
        #expect(try pull(server: .init(), client: .init(receiveBytesPerSecond: Self.rate)) >= least)
    }

    @Test func limitsOfOtherDirectionsHoldNothingUp() throws {
        // A thousand times as long as it takes, at a rate that would need ten minutes.
        let slow: Int64 = 1000
        _ = try pull(server: .init(receiveBytesPerSecond: slow), client: .init(sendBytesPerSecond: Self.rate))
    }

    @Test func aLimitThatIsLiftedHoldsNobodyUpAnyMore() async throws {
        let governor = TransferGovernor(.init(diskBytesPerSecond: 1))
        governor.pass(1 << 20, .disk, for: .prefill)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { governor.limit(.init()) }
            // Without the change it would take twelve days.
            group.addTask { governor.passAll(1 << 20, .disk, for: .prefill) }
        }
        #expect(governor.limits == TransferLimitsValue())
    }

    @Test func whoeverIsStoppedDoesNotWait() {
        let governor = TransferGovernor(.init(sendBytesPerSecond: 1))
        governor.pass(1 << 20, .send, for: .launch)
        governor.passAll(1 << 30, .send, for: .launch) { true }
    }
}
