import AgentManagers
import Testing

@Suite("a manager's address")
struct ManagerAddressTests {
    @Test(
        "what people write",
        arguments: [
            ("manager.example", "manager.example:7401"), ("10.0.0.1:99", "10.0.0.1:99"), ("::1", "[::1]:7401"),
            ("[::1]:99", "[::1]:99"), ("[fe80::1]", "[fe80::1]:7401"),
        ])
    func reads(_ text: String, _ expected: String) {
        #expect(ManagerAddress(text)?.description == expected)
    }

    @Test("what makes no sense", arguments: ["", ":99", "host:", "host:0", "host:70000", "[::1", "[::1]99", "a b"])
    func refuses(_ text: String) {
        #expect(ManagerAddress(text) == nil)
    }
}
