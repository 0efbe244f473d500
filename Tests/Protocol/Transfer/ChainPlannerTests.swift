import ProtocolModel
import ProtocolTransfer
import Testing

@Suite struct ChainPlannerTests {
    let manager = ChunkSource(node: nil, address: "manager:7402")

    private func candidate(_ name: String, location: String = "", holds: Bool = false) -> ReceiverCandidate {
        ReceiverCandidate(
            node: NodeID.generate(at: Timestamp(milliseconds: 1)), name: name, location: location,
            address: name + ":7402", alreadyHolds: holds)
    }

    @Test func oneChainInTheOrderOfHostNumbers() throws {
        let hosts = ["n10", "n2", "n1"].map { candidate($0) }
        let plan = ChainPlanner.plan(receivers: hosts, manager: manager)
        #expect(plan.chains == [[hosts[2].node, hosts[1].node, hosts[0].node]])
        #expect(plan.sources[hosts[2].node] == [manager])
        #expect(plan.sources[hosts[1].node] == [ChunkSource(node: hosts[2].node, address: "n1:7402"), manager])
        #expect(
            plan.sources[hosts[0].node] == [
                ChunkSource(node: hosts[1].node, address: "n2:7402"),
                ChunkSource(node: hosts[2].node, address: "n1:7402"), manager,
            ])
        #expect(plan.serveTo[hosts[2].node] == [hosts[1].node, hosts[0].node])
    }

    @Test func holdersHeadTheChainsOfTheirLocation() throws {
        let holder1 = candidate("a9", location: "rack1", holds: true)
        let holder2 = candidate("b9", location: "rack2", holds: true)
        let one = candidate("a1", location: "rack1")
        let two = candidate("b1", location: "rack2")
        let far = candidate("c1", location: "rack3")
        let plan = ChainPlanner.plan(receivers: [far, two, one, holder2, holder1], manager: manager)
        #expect(plan.sources[one.node]?.first?.node == holder1.node)
        #expect(plan.sources[two.node]?.first?.node == holder2.node)
        #expect(plan.sources[far.node]?.first?.node != nil)
        #expect(plan.chains.count == 2)
    }

    /// For any fleet: same plan in any order; everybody once; only the head pulls from the manager or holds; whoever is
    /// a source may serve; no cycles.
    @Test func keepsItsPromises() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            let hosts = (0..<Int.random(in: 0...30, using: &random)).map { number in
                candidate(
                    "n\(number)", location: "r\(Int.random(in: 0...3, using: &random))",
                    holds: Int.random(in: 0...5, using: &random) == 0)
            }
            let plan = ChainPlanner.plan(receivers: hosts, manager: manager)
            #expect(ChainPlanner.plan(receivers: hosts.shuffled(using: &random), manager: manager) == plan)
            #expect(plan.chains.flatMap { $0 }.sorted() == hosts.map(\.node).sorted())
            let holders = Set(hosts.filter(\.alreadyHolds).map(\.node))
            var fromManager = 0
            for chain in plan.chains {
                for (position, node) in chain.enumerated() {
                    let sources = try #require(plan.sources[node])
                    #expect(sources.last == manager)
                    if sources.count == 1, !holders.contains(node) { fromManager += 1 }
                    for source in sources {
                        guard let upstream = source.node else { continue }
                        #expect(plan.serveTo[upstream]?.contains(node) == true)
                        #expect(try #require(chain.firstIndex(of: upstream)) < position)
                    }
                }
            }
            #expect(fromManager == (holders.isEmpty && !hosts.isEmpty ? 1 : 0))
        }
    }
}
