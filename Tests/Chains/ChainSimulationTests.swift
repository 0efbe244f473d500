import ProtocolModel
import ProtocolTransfer
import Testing
import TestsSupportRandomness

@testable import AgentImages

/// What chains promise, with the real planner and the real decisions of agents over modelled links. Times are simulated, and
/// so exact.
@Suite struct ChainSimulationTests {
    /// 256 MiB: the smallest image that sites complain about, and the hardest, since there is little time to decide.
    private func undisturbed(_ site: ChainSimulation.Site) -> Double {
        let simulation = ChainSimulation(site)
        simulation.prefill()
        simulation.run()
        return simulation.time(of: simulation.hosts.indices)
    }

    private var others: [Int] { [0, 1, 2, 4, 5, 6, 7] }

    @Test func aChainTakesTheTimeOfOneCopyAndAChunkAHop() {
        let simulation = ChainSimulation(.init())
        simulation.prefill()
        simulation.run()
        #expect(simulation.time(of: simulation.hosts.indices) <= 1.01 * simulation.theoreticalTime)
        #expect(simulation.relinks.isEmpty)
        #expect(abs(simulation.sentTwice) < 0.001)
    }

    @Test("a slow host in the middle slows nobody", arguments: [64, 512])
    func slowHost(chunks: Int) {
        let site = ChainSimulation.Site(chunks: chunks)
        let simulation = ChainSimulation(site)
        simulation.slowDown(3, to: 0.2)
        simulation.prefill()
        simulation.run()
        #expect(simulation.time(of: others) <= 1.10 * undisturbed(site))
        #expect(simulation.time(of: [3]) < .infinity)
        #expect(simulation.sentTwice < 0.05)
        #expect(
            simulation.relinks.contains { $0.relink.culprit == simulation.hosts[3].node && $0.relink.cause == .slow })
    }

    /// Slow from the middle on, which is the harder thing to see.
    @Test func hostThatBecomesSlow() {
        let site = ChainSimulation.Site(chunks: 256)
        let simulation = ChainSimulation(site)
        simulation.prefill()
        simulation.at(.seconds(15)) { simulation.slowDown(3, to: 0.5) }
        simulation.run()
        #expect(simulation.time(of: others) <= 1.10 * undisturbed(site))
        #expect(simulation.time(of: [3]) < .infinity)
    }

    @Test("a pulled cable costs the others little, and its host finishes when it is back", arguments: [64, 512])
    func pulledCable(chunks: Int) {
        let site = ChainSimulation.Site(chunks: chunks)
        let usual = undisturbed(site)
        let simulation = ChainSimulation(site)
        simulation.prefill()
        simulation.at(.seconds(0.4 * usual)) { simulation.cut(3) }
        simulation.at(.seconds(2 * usual)) { simulation.heal(3) }
        simulation.run()
        #expect(simulation.time(of: others) <= 1.25 * usual)
        // Its plan was changed in time, too.
        let replaced = simulation.relinks.first { $0.relink.culprit == simulation.hosts[3].node }
        #expect(replaced.map { $0.at.inSeconds <= 0.4 * usual + 2 } == true)
        // What it had is not sent anew.
        #expect(simulation.time(of: [3]) <= 2 * usual + 0.75 * usual)
        #expect(simulation.sentTwice < 0.05)
    }

    @Test func killedHost() {
        let site = ChainSimulation.Site()
        let usual = undisturbed(site)
        let simulation = ChainSimulation(site)
        simulation.prefill()
        simulation.at(.seconds(0.5 * usual)) { simulation.kill(3) }
        simulation.at(.seconds(0.8 * usual)) { simulation.start(3) }
        simulation.run()
        #expect(simulation.time(of: others) <= 1.05 * usual)
        #expect(simulation.time(of: [3]) <= 1.5 * usual)
        #expect(simulation.sentTwice < 0.05)
    }

    @Test func stoppedHost() {
        let site = ChainSimulation.Site()
        let usual = undisturbed(site)
        let simulation = ChainSimulation(site)
        simulation.prefill()
        simulation.at(.seconds(0.3 * usual)) { simulation.stop(3, for: .seconds(10)) }
        simulation.run()
        #expect(simulation.time(of: others) <= 1.15 * usual)
        #expect(simulation.time(of: [3]) <= 1.3 * usual + 10)
        #expect(simulation.sentTwice < 0.05)
    }

    @Test("P7 a host that sends wrong data is left, and finishes itself") func lyingHost() {
        let site = ChainSimulation.Site()
        let simulation = ChainSimulation(site)
        simulation.hosts[3].rotten = [10]
        simulation.prefill()
        simulation.run()
        #expect(simulation.time(of: simulation.hosts.indices) <= 1.10 * undisturbed(site))
        #expect(simulation.sentTwice < 0.05)
        // Nobody is behind it any more.
        #expect(!simulation.record.values.contains(simulation.hosts[3].node))
    }

    /// The chain runs on while nobody leads; only its head waits, as the manager serves it.
    @Test func anotherManagerGoesOnFromTheRecord() {
        let site = ChainSimulation.Site()
        let usual = undisturbed(site)
        let simulation = ChainSimulation(site)
        simulation.prefill()
        simulation.at(.seconds(0.6 * usual)) { simulation.replaceManager(downFor: .seconds(5)) }
        simulation.at(.seconds(0.6 * usual + 8)) { simulation.cut(5) }
        simulation.run(until: .seconds(300))
        #expect(simulation.time(of: [0, 1, 2, 3, 4, 6, 7]) <= usual + 5 + 4)
        #expect(simulation.sentTwice < 0.05)
        #expect(simulation.relinks.contains { $0.relink.culprit == simulation.hosts[5].node })
        #expect(!simulation.relinks.contains { $0.relink.culprit != simulation.hosts[5].node })
    }

    @Test func twoNeighboursAtOnce() {
        let site = ChainSimulation.Site()
        let usual = undisturbed(site)
        let simulation = ChainSimulation(site)
        simulation.prefill()
        simulation.at(.seconds(0.5 * usual)) {
            simulation.powerOff(3)
            simulation.powerOff(4)
        }
        simulation.run(until: .seconds(300))
        #expect(simulation.time(of: [0, 1, 2, 5, 6, 7]) <= 1.25 * usual)
        #expect(simulation.sentTwice < 0.05)
    }

    /// A launch gets the image while a prefill runs: from the end of the chain, not from the manager.
    @Test func launchJoinsTheRunningChain() {
        var site = ChainSimulation.Site()
        site.hosts = 9
        let simulation = ChainSimulation(site)
        simulation.prefill(Array(0..<8))
        let chunk = Double(site.chunkBytes) / site.bytesPerSecond
        simulation.at(.seconds(6)) { simulation.prefill([8], priority: .launch) }
        simulation.run(until: .seconds(300))
        // As fast as its own link allows, and nobody waits for it.
        #expect(simulation.time(of: [8]) <= 6 + 1.05 * Double(site.chunks) * chunk)
        #expect(simulation.time(of: 0..<8) <= 1.01 * Double(site.chunks + 8) * chunk)
        #expect(simulation.record[simulation.hosts[8].node] == simulation.hosts[7].node)
    }

    /// The end of a chain where a slow host was put is no place for somebody who is waited for.
    @Test func launchDoesNotJoinBehindASlowHost() {
        var site = ChainSimulation.Site()
        site.hosts = 9
        let simulation = ChainSimulation(site)
        simulation.slowDown(3, to: 0.2)
        simulation.prefill(Array(0..<8))
        simulation.at(.seconds(6)) { simulation.prefill([8], priority: .launch) }
        simulation.run(until: .seconds(300))
        let chunk = Double(site.chunkBytes) / site.bytesPerSecond
        #expect(simulation.time(of: [8]) <= 6 + 1.35 * Double(site.chunks) * chunk)
        #expect(simulation.time(of: [3]) < .infinity)
    }

    /// 200 hosts of which one in twenty dies on the way: agents killed, and hosts without power.
    @Test("many hosts, some of which die", .timeLimit(.minutes(5)), arguments: [7, 8])
    func manyHosts(seed: UInt64) {
        let simulation = ChainSimulation(.init(hosts: 200, chunks: 128, seed: seed))
        simulation.prefill()
        var random = SeededNumbers(state: seed)
        var dying: Set<Int> = []
        while dying.count < 10 { dying.insert(Int.random(in: 0..<200, using: &random)) }
        for (position, host) in dying.sorted().enumerated() {
            let moment = Double.random(in: 0..<simulation.theoreticalTime, using: &random)
            simulation.at(.seconds(moment)) {
                if position % 2 == 0 { simulation.kill(host) } else { simulation.powerOff(host) }
            }
        }
        simulation.run(until: .seconds(600))
        let survivors = (0..<200).filter { !dying.contains($0) }
        #expect(simulation.time(of: survivors) <= 1.15 * simulation.theoreticalTime)
        // 190 hosts: a twentieth of one image for each fault is far more than enough.
        #expect(simulation.sentTwice < 0.05 * 10)
    }
}
