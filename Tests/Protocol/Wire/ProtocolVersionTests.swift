import ProtocolWire
import Testing

@Suite("version negotiation")
struct ProtocolVersionTests {
    @Test(
        "the highest version that both speak",
        arguments: [
            (1...1, 1, 1, 1), (1...2, 1, 1, 1), (1...1, 1, 2, 1), (2...3, 3, 4, 3), (1...3, 0, 9, 3),
            (2...3, 1, 1, nil),
            (1...1, 2, 2, nil), (1...3, 3, 2, nil),
        ] as [(ClosedRange<UInt32>, UInt32, UInt32, UInt32?)])
    func negotiate(_ ours: ClosedRange<UInt32>, _ minimum: UInt32, _ maximum: UInt32, _ version: UInt32?) {
        #expect(ProtocolVersion.negotiate(ours, minimum: minimum, maximum: maximum) == version)
    }
}
