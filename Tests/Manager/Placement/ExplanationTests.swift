import ManagerModel
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerPlacement

@Suite("Explanation of a placement")
struct ExplanationTests {
    @Test("names who fell out as a refusal counts them, and ranks first who would be chosen", arguments: 0..<60)
    func likeTheDecision(seed: Int) {
        var random = SeededNumbers(seed: seed)
        let image = ImageID.generate(at: HostTableTests.now, using: &random)
        let hosts = (0..<Int.random(in: 0..<30, using: &random)).map { HostTableTests.host($0, using: &random) }
        var table = HostTable(hosts)
        table.setHeldBy(hosts.filter { _ in Bool.random(using: &random) }.map(\.node), image: image)
        for _ in 0..<20 {
            let request = HostTableTests.request(hosts, image, using: &random)
            let explanation = table.explain(request, limit: 3)
            let counts = explanation.removals.map { Refusal.FilterCount(filter: $0.filter.rawValue, hosts: $0.hosts) }
            #expect(explanation.hosts == hosts.count)
            #expect(counts.reduce(0) { $0 + $1.hosts } + explanation.candidates == hosts.count)
            let isBounded = explanation.removals.allSatisfy { $0.names.count == min(3, $0.hosts) }
            #expect(isBounded && explanation.ranking.count == min(3, explanation.candidates))
            switch table.place(request) {
            case .placed(let node): #expect(explanation.ranking.first?.name == table[node]?.name)
            case .refused(let removed):
                #expect(removed == counts)
                #expect(explanation.candidates == 0)
            }
        }
    }
}
