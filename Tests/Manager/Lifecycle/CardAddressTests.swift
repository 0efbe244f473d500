import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Card addresses")
struct CardAddressTests {
    @Test("go with a node's address, so that a lease is never held by another card")
    func derived() {
        let (one, other) = (
            NodeID.generate(at: Timestamp(milliseconds: 1_000)), NodeID.generate(at: Timestamp(milliseconds: 2_000))
        )
        let card = CardAddress.derived(node: one, address: "10.77.1.2", attempt: 0)
        #expect(card == CardAddress.derived(node: one, address: "10.77.1.2", attempt: 0))
        #expect(card.wholeMatch(of: /52:54(:[0-9a-f]{2}){4}/) != nil)
        let others = [
            CardAddress.derived(node: one, address: "10.77.1.3", attempt: 0),
            CardAddress.derived(node: other, address: "10.77.1.2", attempt: 0),
            CardAddress.derived(node: one, address: "10.77.1.2", attempt: 1),
        ]
        #expect(Set(others + [card]).count == 4)
    }
}
