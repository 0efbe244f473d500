import ProtocolModel
import ProtocolTransfer
import Testing

@Suite struct ChainPlannerTests {
    private func member(
        _ name: String, location: String = "", held: Bool = false, upstream: NodeID? = nil, chunks: Int = 0,
        throughput: Int64? = nil, priority: ChainMember.Priority = .prefill, isReachable: Bool = true
    ) -> ChainMember {
        ChainMember(
            node: NodeID.generate(at: Timestamp(milliseconds: 1)), name: name, location: location,
            state: held ? .held : .fetching, upstream: upstream, chunksHeld: held ? 100 : chunks, chunksTotal: 100,
            priority: priority, isReachable: isReachable, throughput: throughput)
    }

    private func upstream(_ member: ChainMember, _ plan: [NodeID: NodeID?]) -> NodeID? { plan[member.node] ?? nil }

    @Test func oneChainInTheOrderOfHostNumbers() {
        let hosts = ["n10", "n2", "n1"].map { member($0) }
        let plan = ChainPlanner.place(hosts, among: [])
        #expect(plan == [hosts[2].node: nil, hosts[1].node: hosts[2].node, hosts[0].node: hosts[1].node])
    }

    @Test func holdersHeadTheChainsOfTheirLocation() {
        let holder1 = member("a9", location: "rack1", held: true)
        let holder2 = member("b9", location: "rack2", held: true)
        let one = member("a1", location: "rack1")
        let two = member("b1", location: "rack2")
        let far = member("c1", location: "rack3")
        let plan = ChainPlanner.place([far, two, one], among: [holder2, holder1])
        #expect(upstream(one, plan) == holder1.node)
        #expect(upstream(two, plan) == holder2.node)
        #expect([one.node, two.node].contains(upstream(far, plan)))
    }

    /// A slow link between locations is crossed once in each direction.
    @Test func locationsAreCrossedOnce() {
        let hosts = (0..<12).map { member("n\($0)", location: "row\($0 % 3)") }
        let plan = ChainPlanner.place(hosts, among: [])
        let places = Dictionary(uniqueKeysWithValues: hosts.map { ($0.node, $0.location) })
        let crossings = hosts.filter { host in upstream(host, plan).map { places[$0] != host.location } ?? false }
        #expect(crossings.count == 2)
    }

    @Test func newcomersJoinTheEndOfTheChain() {
        let head = member("n1", chunks: 50)
        let tail = member("n2", upstream: head.node, chunks: 40)
        let late = member("n0")
        #expect(upstream(late, ChainPlanner.place([late], among: [head, tail])) == tail.node)
        // Who has all of it, and serves nobody, is better still.
        let holder = member("n9", held: true)
        #expect(upstream(late, ChainPlanner.place([late], among: [head, tail, holder])) == holder.node)
    }

    @Test func nobodyIsPutBehindOneThatCannotServe() {
        let gone = member("n1", chunks: 50, isReachable: false)
        let newcomer = member("n2")
        #expect(upstream(newcomer, ChainPlanner.place([newcomer], among: [gone])) == nil)
        var paused = member("n3", chunks: 60)
        paused.isPaused = true
        #expect(upstream(newcomer, ChainPlanner.place([newcomer], among: [gone, paused])) == nil)
        paused.state = .held
        #expect(upstream(newcomer, ChainPlanner.place([newcomer], among: [gone, paused])) == paused.node)
    }

    /// What is known from earlier transfers: slow ones at the end, the least slow first.
    @Test func slowHostsComeLast() {
        let hosts = (1...6).map { member("n\($0)", throughput: $0 == 2 ? 10 : $0 == 4 ? 30 : 100) }
        let plan = ChainPlanner.place(hosts, among: [])
        #expect(upstream(hosts[2], plan) == hosts[0].node)
        #expect(upstream(hosts[4], plan) == hosts[2].node)
        #expect(upstream(hosts[5], plan) == hosts[4].node)
        #expect(upstream(hosts[3], plan) == hosts[5].node)
        #expect(upstream(hosts[1], plan) == hosts[3].node)
    }

    @Test func nobodyIsPlannedBehindAHostThatIsAway() {
        let hosts = (1...4).map { member("n\($0)", isReachable: $0 != 2) }
        let plan = ChainPlanner.place(hosts, among: [])
        #expect(upstream(hosts[2], plan) == hosts[0].node)
        #expect(upstream(hosts[3], plan) == hosts[2].node)
        #expect(upstream(hosts[1], plan) == hosts[3].node)
    }

    @Test func launchesGoFirst() {
        let prefills = (1...3).map { member("n\($0)") }
        let launch = member("n9", priority: .launch)
        let plan = ChainPlanner.place(prefills + [launch], among: [])
        #expect(upstream(launch, plan) == nil)
        #expect(upstream(prefills[0], plan) == launch.node)
    }

    @Test func severalChainsWhereTheHeadHasBandwidthToSpare() {
        let hosts = (1...7).map { member("n\($0)") }
        let plan = ChainPlanner.place(hosts, among: [], headChains: 2)
        #expect(hosts.filter { upstream($0, plan) == nil }.map(\.name) == ["n1", "n5"])
        #expect(upstream(hosts[5], plan) == hosts[4].node)
    }

    @Test(
        "the manager begins as many chains as its link has room for",
        arguments: [
            (nil, 100, 1), (100, 100, 1), (210, 100, 1), (230, 100, 2), (1_000, 100, 4), (1_000, nil, 1),
        ] as [(Int64?, Int64?, Int)])
    func headChains(head: Int64?, throughput: Int64?, chains: Int) {
        let hosts = (1...8).map { member("n\($0)", throughput: $0 <= 4 ? throughput : nil) }
        #expect(ChainPlanner.headChains(for: hosts, headBytesPerSecond: head) == chains)
        let few = (1...4).map { member("n\($0)", throughput: throughput) }
        #expect(ChainPlanner.headChains(for: few, headBytesPerSecond: head) == min(2, chains))
    }

    /// For any fleet: same plan in any order; everybody has a place; no cycles; whoever is a source may serve; holders
    /// spare the manager.
    @Test func keepsItsPromises() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            let members = (0..<Int.random(in: 0...6, using: &random)).map { number in
                member("m\(number)", location: "r\(Int.random(in: 0...3, using: &random))", held: true)
            }
            let hosts = (0..<Int.random(in: 0...30, using: &random)).map { number in
                member(
                    "n\(number)", location: "r\(Int.random(in: 0...3, using: &random))",
                    throughput: Bool.random(using: &random) ? Int64.random(in: 1...100, using: &random) : nil)
            }
            let plan = ChainPlanner.place(hosts, among: members)
            #expect(
                ChainPlanner.place(hosts.shuffled(using: &random), among: members.shuffled(using: &random)) == plan)
            #expect(Set(plan.keys) == Set(hosts.map(\.node)))
            #expect(hosts.filter { upstream($0, plan) == nil }.count == (members.isEmpty && !hosts.isEmpty ? 1 : 0))
            var children: [NodeID: [NodeID]] = [:]
            for host in hosts {
                if let upstream = upstream(host, plan) { children[upstream, default: []].append(host.node) }
            }
            for host in hosts {
                var seen: Set<NodeID> = []
                var next: NodeID? = host.node
                while let node = next {
                    #expect(seen.insert(node).inserted)
                    next = plan[node] ?? nil
                }
                for source in ChainNeighbours.upstreams(of: host.node, upstream: { plan[$0] ?? nil }) {
                    #expect(ChainNeighbours.downstreams(of: source) { children[$0] ?? [] }.contains(host.node))
                }
            }
        }
    }
}
