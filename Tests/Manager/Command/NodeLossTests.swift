import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Lost nodes, as the command shows them")
struct NodeLossTests {
    private func node(certain: JSON, fencing: JSON = .null) -> JSON {
        [
            "lost": [
                "since": .string("2026-11-29T10:00:00.000Z"), "certain": certain, "detail": .string("why"),
                "staying": .whole(2), "restarting": .whole(1), "fencing": fencing,
            ]
        ]
    }

    @Test("nothing of a node that is heard; otherwise since when, what is known, and who waits for what")
    func words() throws {
        #expect(NodeLoss.words(["lost": .null]) == nil)
        let unknown = try #require(NodeLoss.words(node(certain: .null)))
        #expect(
            unknown.contains("2026-11-29") && unknown.contains("why") && unknown.contains("2 instances wait for it"))
        #expect(unknown.contains("1 restart elsewhere once it is certain to be off"))
        let certain = try #require(NodeLoss.words(node(certain: .string("confirmed"))))
        #expect(certain.contains("as there is room"))
        let failed: JSON = ["attempts": .whole(3), "outcome": .string("no route")]
        #expect(try #require(NodeLoss.words(node(certain: .null, fencing: failed))).contains("attempt 3: no route"))
        let running: JSON = ["attempts": .whole(1), "outcome": .string("")]
        #expect(try #require(NodeLoss.words(node(certain: .null, fencing: running))).contains("under way"))
    }
}
