import ProtocolModel
import ProtocolTransfer
import Testing

@Suite struct ChainMachineTests {
    let image = ImageID.generate(at: Timestamp(milliseconds: 1))
    let nodes = (1...6).map { NodeID.generate(at: Timestamp(milliseconds: Int64($0))) }

    private func at(_ milliseconds: Int64) -> Uptime { Uptime(sinceStart: .milliseconds(milliseconds)) }

    /// n1 → n2 → … as they are recorded.
    private func members(_ count: Int = 5) -> [ChainMember] {
        (0..<count).map { number in
            ChainMember(
                node: nodes[number], name: "n\(number + 1)", upstream: number == 0 ? nil : nodes[number - 1],
                chunksTotal: 100)
        }
    }

    private func progress(
        _ chunks: Int, rate: Int64? = nil, bytes: Int64 = 0, complaint: SourceComplaint? = nil,
        state: ChainMember.State = .fetching
    ) -> ChainProgress {
        ChainProgress(
            state: state, chunksHeld: chunks, chunksTotal: 100, throughput: rate, bytesReceived: bytes,
            complaint: complaint)
    }

    /// A chain whose hosts were all heard at the time.
    private func running(_ count: Int = 5, until end: Int64 = 2000, rates: [Int64] = []) -> ChainMachine {
        var machine = ChainMachine()
        #expect(machine.handle(.recorded(image, members(count)), at: at(0)).isEmpty)
        for time in stride(from: Int64(500), through: end, by: 500) {
            #expect(tell(&machine, count, at: time, rates: rates).isEmpty)
        }
        return machine
    }

    private func tell(
        _ machine: inout ChainMachine, _ count: Int = 5, at time: Int64, rates: [Int64] = [], pace: Int64 = 100,
        except: Set<Int> = []
    ) -> [ChainMachine.Relink] {
        var effects: [ChainMachine.Effect] = []
        for number in 0..<count where !except.contains(number) {
            let rate = rates.isEmpty ? 100 : rates[number]
            effects += machine.handle(
                .progressed(
                    image, nodes[number], progress(50 - number, rate: rate, bytes: pace * time / 1000)), at: at(time))
        }
        return relinks(effects + machine.handle(.ticked, at: at(time)))
    }

    private func relinks(_ effects: [ChainMachine.Effect]) -> [ChainMachine.Relink] {
        effects.flatMap { effect in
            switch effect {
            case .relink(_, let relinks): relinks
            }
        }.sorted { $0.node < $1.node }
    }

    private func relink(
        _ node: Int, _ upstream: Int?, _ cause: ChainMachine.Cause, _ culprit: Int?
    ) -> ChainMachine.Relink {
        ChainMachine.Relink(
            node: nodes[node], upstream: upstream.map { nodes[$0] }, cause: cause, culprit: culprit.map { nodes[$0] })
    }

    @Test func aChainThatRunsIsLeftAlone() {
        var machine = running()
        #expect(tell(&machine, at: 2500).isEmpty)
    }

    @Test func silentHost() {
        var machine = running()
        for time in stride(from: Int64(2500), through: 3500, by: 500) {
            #expect(tell(&machine, at: time, except: [1]).isEmpty)
        }
        // Within two seconds of its last word.
        #expect(
            tell(&machine, at: 3750, except: [1]) == [relink(1, 4, .silent, 1), relink(2, 0, .silent, 1)])
        #expect(tell(&machine, at: 4250, except: [1]).isEmpty)
        // It comes back where it is now, and finishes there.
        #expect(tell(&machine, at: 5000).isEmpty)
    }

    /// That nobody is heard is this manager's own weakness.
    @Test func silenceOfAllIsNobodysFault() {
        var machine = running()
        #expect(machine.handle(.ticked, at: at(9000)).isEmpty)
        #expect(tell(&machine, at: 9001).isEmpty)
    }

    @Test func hostThatIsNotListenedTo() {
        var machine = running()
        for time in stride(from: Int64(2500), through: 9000, by: 500) {
            _ = machine.handle(.heldUp([nodes[1]]), at: at(time))
            #expect(tell(&machine, at: time, except: [1]).isEmpty)
        }
    }

    @Test func endedSession() {
        var machine = running()
        #expect(
            relinks(machine.handle(.disconnected(nodes[2]), at: at(2100)))
                == [relink(2, 4, .disconnected, 2), relink(3, 1, .disconnected, 2)])
        // The last one is in nobody's way.
        #expect(machine.handle(.disconnected(nodes[2]), at: at(2200)).isEmpty)
    }

    @Test func neighboursThatDieTogether() {
        var machine = running()
        _ = machine.handle(.disconnected(nodes[1]), at: at(2100))
        let second = relinks(machine.handle(.disconnected(nodes[2]), at: at(2101)))
        #expect(second.contains(relink(3, 0, .disconnected, 2)))
        #expect(machine.upstreams(of: image)[nodes[4]] == nodes[3])
    }

    @Test func complaintOfTheNextOne() {
        var machine = running()
        let complaint = SourceComplaint(source: nodes[1], failure: .silent)
        let effects = machine.handle(.progressed(image, nodes[2], progress(30, complaint: complaint)), at: at(3001))
        #expect(
            relinks(effects) == [
                relink(1, 4, .complaint(.silent), 1), relink(2, 0, .complaint(.silent), 1),
            ])
        // Told again for a few seconds: it is about nobody's upstream any more.
        #expect(
            machine.handle(.progressed(image, nodes[2], progress(30, complaint: complaint)), at: at(3500)).isEmpty)
    }

    /// One that finds fault with everybody, where the others hear them well, is itself the one.
    @Test func oneThatComplainsOfEverybody() {
        var machine = running()
        let first = SourceComplaint(source: nodes[1], failure: .broken)
        _ = machine.handle(.progressed(image, nodes[2], progress(30, complaint: first)), at: at(2100))
        let second = SourceComplaint(source: nodes[0], failure: .broken)
        let effects = relinks(
            machine.handle(.progressed(image, nodes[2], progress(30, complaint: second)), at: at(2400)))
        #expect(effects.map(\.culprit) == [nodes[2], nodes[2]])
        #expect(effects.first { $0.node == nodes[3] }?.upstream == nodes[0])
        #expect(machine.upstreams(of: image)[nodes[0]] == .some(nil))
    }

    @Test("P7 nobody is put behind one that lied") func liar() {
        var machine = running()
        let complaint = SourceComplaint(source: nodes[1], failure: .lied)
        _ = machine.handle(.progressed(image, nodes[2], progress(30, complaint: complaint)), at: at(2100))
        #expect(machine.upstreams(of: image)[nodes[2]] == nodes[0])
        #expect(!machine.upstreams(of: image).values.contains(nodes[1]))
        // Also where another one fails later.
        _ = machine.handle(.disconnected(nodes[4]), at: at(2200))
        #expect(!machine.upstreams(of: image).values.contains(nodes[1]))
        // Nor a newcomer, although it is at the end.
        var joined = members(6)
        joined[5].upstream = nodes[1]
        _ = machine.handle(.recorded(image, joined), at: at(2300))
        #expect(machine.upstreams(of: image)[nodes[5]] != nodes[1])
    }

    @Test func slowHostGoesToTheEnd() {
        var machine = running(until: 2000)
        let rates: [Int64] = [100, 60, 100, 100, 100]
        var found: [ChainMachine.Relink] = []
        var time: Int64 = 2500
        while found.isEmpty, time < 10_000 {
            found = tell(&machine, at: time, rates: rates)
            time += 500
        }
        #expect(found == [relink(1, 4, .slow, 1), relink(2, 0, .slow, 1)])
        // A few seconds, and not at once.
        #expect((5000...6500).contains(time))
    }

    @Test func crawlingHostGoesAtOnce() {
        var machine = running(until: 2000)
        #expect(tell(&machine, at: 2500, rates: [100, 20, 20, 100, 100]).isEmpty)
        // The first of the slow ones: the other one is behind it.
        let found = tell(&machine, at: 3000, rates: [100, 20, 20, 100, 100])
        #expect(found == [relink(1, 4, .slow, 1), relink(2, 0, .slow, 1)])
    }

    /// Hosts that keep up wait for their upstream most of the time, so that no rate of theirs can be told: only the head, the
    /// slow host and the one behind it have one, and the slow ones are the most of those.
    @Test func crawlingHostAmongHostsThatWait() {
        var machine = ChainMachine()
        #expect(machine.handle(.recorded(image, members()), at: at(0)).isEmpty)
        var found: [ChainMachine.Relink] = []
        var time: Int64 = 0
        while found.isEmpty, time < 10_000 {
            time += 500
            var effects: [ChainMachine.Effect] = []
            for (number, seen) in [(100, 100), (nil, 100), (20, 20), (20, 20), (nil, 20)].enumerated() {
                let rate: Int? = seen.0
                let progress = ChainProgress(
                    state: .fetching, chunksHeld: 10, chunksTotal: 100, throughput: rate.map { Int64($0) },
                    bytesReceived: Int64(seen.1) * time / 1000)
                effects += machine.handle(.progressed(image, nodes[number], progress), at: at(time))
            }
            found = relinks(effects + machine.handle(.ticked, at: at(time)))
        }
        #expect(found == [relink(2, 4, .slow, 2), relink(3, 1, .slow, 2)])
        #expect(time <= 2500)
    }

    /// All of them are as slow as what they get.
    @Test func nobodyIsSlowBehindASlowHead() {
        var machine = ChainMachine()
        _ = machine.handle(.recorded(image, members()), at: at(0))
        for time in stride(from: Int64(500), through: 20_000, by: 500) {
            for number in 0..<5 {
                let progress = ChainProgress(
                    state: .fetching, chunksHeld: 10, chunksTotal: 100,
                    throughput: number == 0 ? 20 : number == 1 ? 21 : nil,
                    bytesReceived: 20 * time / 1000)
                #expect(machine.handle(.progressed(image, nodes[number], progress), at: at(time)).isEmpty)
            }
            #expect(machine.handle(.ticked, at: at(time)).isEmpty)
        }
    }

    /// Where a quick host is slow behind another one, that one gives slowly.
    @Test func slowSender() {
        var machine = running(until: 2000)
        var found: [ChainMachine.Relink] = []
        // n3 was quick behind n2; n2 leaves, and behind n1 it is slow.
        _ = machine.handle(.disconnected(nodes[1]), at: at(2100))
        for time in stride(from: Int64(2500), through: 9000, by: 500) where found.isEmpty {
            found = tell(&machine, at: time, rates: [100, 0, 10, 100, 100], except: [1])
        }
        #expect(Set(found.map(\.culprit)) == [nodes[0]])
        #expect(machine.upstreams(of: image)[nodes[2]] == .some(nil))
    }

    @Test func newcomerIsNotLeftBehindASlowHost() {
        var machine = running(until: 2000)
        for time in stride(from: Int64(2500), through: 3500, by: 500) {
            _ = tell(&machine, at: time, rates: [100, 20, 100, 100, 100])
        }
        #expect(machine.upstreams(of: image)[nodes[1]] == nodes[4])
        var joined = members(6)
        joined[5].upstream = nodes[1]
        joined[5].priority = .launch
        #expect(
            relinks(machine.handle(.recorded(image, joined), at: at(4000))) == [relink(5, 4, .joined, nil)])
    }

    @Test func pausedHostIsNobodysUpstream() {
        var machine = running()
        var paused = members()
        paused[2].isPaused = true
        #expect(relinks(machine.handle(.recorded(image, paused), at: at(2100))) == [relink(3, 1, .paused, 2)])
    }

    @Test func removedHost() {
        var machine = running()
        let rest = members().filter { $0.node != nodes[2] }
        #expect(relinks(machine.handle(.recorded(image, rest), at: at(2100))) == [relink(3, 1, .removed, 2)])
    }

    /// A new leader takes the links as they are, and misses nobody before there was time to come back.
    @Test func newLeader() {
        var machine = ChainMachine()
        #expect(machine.handle(.recorded(image, members()), at: at(0)).isEmpty)
        #expect(tell(&machine, at: 500, except: [3]).isEmpty)
        #expect(tell(&machine, at: 19_000, except: [3]).isEmpty)
        #expect(tell(&machine, at: 20_500, except: [3]).contains(relink(4, 2, .silent, 3)))
    }

    @Test func forgetsAnImageThatEverybodyHas() {
        var machine = running(2)
        for number in 0..<2 {
            _ = machine.handle(.progressed(image, nodes[number], progress(100, state: .held)), at: at(3000))
        }
        #expect(machine.activeImages.isEmpty)
    }

    /// Whatever happens: no cycles, and nobody behind itself.
    @Test(arguments: 0..<20) func anyCourseOfEvents(seed: Int) {
        var random = SystemRandomNumberGenerator()
        var machine = ChainMachine()
        let all = (0..<12).map { NodeID.generate(at: Timestamp(milliseconds: Int64($0))) }
        var recorded: [ChainMember] = []
        var now: Int64 = 0
        for _ in 0..<1500 {
            now += Int64.random(in: 0...700, using: &random)
            let node = all.randomElement(using: &random) ?? all[0]
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                recorded.removeAll { $0.node == node }
                if Bool.random(using: &random) {
                    let newcomer = ChainMember(
                        node: node, name: "\(node)", location: "r\(Int.random(in: 0..<2, using: &random))")
                    let plan = ChainPlanner.place([newcomer], among: recorded)
                    var member = newcomer
                    member.upstream = plan[node] ?? nil
                    recorded.append(member)
                }
                _ = machine.handle(.recorded(image, recorded), at: at(now))
            case 1: _ = machine.handle(.disconnected(node), at: at(now))
            case 2: _ = machine.handle(.connected(node), at: at(now))
            case 3: _ = machine.handle(.ticked, at: at(now))
            default:
                let complaint = SourceComplaint(
                    source: all.randomElement(using: &random),
                    failure: SourceFailure.allCases.randomElement(using: &random) ?? .silent)
                _ = machine.handle(
                    .progressed(
                        image, node,
                        progress(
                            Int.random(in: 0..<100, using: &random), rate: Int64.random(in: 0..<100, using: &random),
                            complaint: Bool.random(using: &random) ? complaint : nil)), at: at(now))
            }
            let links = machine.upstreams(of: image)
            for member in recorded {
                if let planned = links[member.node] { expectNoCycle(member.node, planned, links) }
            }
            recorded = recorded.map { member in
                var member = member
                if let planned = links[member.node] { member.upstream = planned }
                return member
            }
        }
    }

    private func expectNoCycle(_ node: NodeID, _ upstream: NodeID?, _ links: [NodeID: NodeID?]) {
        var seen: Set<NodeID> = [node]
        var next = upstream
        while let above = next {
            #expect(seen.insert(above).inserted)
            guard seen.count <= links.count + 1 else { return }
            next = links[above] ?? nil
        }
    }
}
