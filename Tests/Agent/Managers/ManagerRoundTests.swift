import AgentManagers
import ProtocolModel
import Testing

@Suite("Which manager is dialled next")
struct ManagerRoundTests {
    private let a = ManagerAddress(host: "a")
    private let b = ManagerAddress(host: "b")
    private let c = ManagerAddress(host: "c")
    private let backoff = Backoff(first: .seconds(1), maximum: .seconds(8), jitter: 0)

    @Test("all in turn with growing waits, those of this host's own settings first")
    func inTurn() {
        var random = SystemRandomNumberGenerator()
        var round = ManagerRound(configured: [b], learned: [a, b, c], backoff: backoff)
        var dialled: [ManagerAddress?] = []
        var waits: [Duration] = []
        for _ in 0..<5 {
            dialled.append(round.next())
            waits.append(round.ended(.failed, using: &random))
        }
        #expect(dialled == [b, a, c, b, a])
        #expect(waits == [.seconds(1), .seconds(2), .seconds(4), .seconds(8), .seconds(8)])
        var none = ManagerRound(configured: [], backoff: backoff)
        let nobody = none.next()
        #expect(nobody == nil)
    }

    @Test("the leader is dialled at once where one is named; two that name each other are not besieged")
    func redirected() {
        var random = SystemRandomNumberGenerator()
        var round = ManagerRound(configured: [a, b], backoff: backoff)
        let first = round.next()
        let redirected = round.ended(.notLeader(c), using: &random)
        let second = round.next()
        let lostAgain = round.ended(.stood(leader: nil), using: &random)
        #expect(first == a && redirected == .zero)
        #expect(second == c, "also one that nobody had named before")
        #expect(lostAgain == .seconds(1))

        var dials: [ManagerAddress?] = []
        var waits: [Duration] = []
        for _ in 0..<8 {
            let address = round.next()
            dials.append(address)
            waits.append(round.ended(.notLeader(address == a ? b : a), using: &random))
        }
        #expect(waits.count { $0 > .zero } == 2, "\(waits)")
        // Not even the leader is known: as after any loss.
        var lost = ManagerRound(configured: [a, b], backoff: backoff)
        _ = lost.next()
        let wait = lost.ended(.notLeader(nil), using: &random)
        #expect(wait == .seconds(1))
    }

    @Test("what a manager says of all of them is kept once, and only so many")
    func learning() {
        var round = ManagerRound(configured: [a], backoff: backoff)
        let news = [[b, c, b], [b, c], []].map { round.learn($0) }
        #expect(news == [true, false, false], "a manager of the version before says nothing")
        #expect(round.managers == [a, b, c])
        let many = round.learn((0..<100).map { ManagerAddress(host: "h\($0)") })
        #expect(many)
        #expect(round.managers.count == 1 + ManagerRound.limit)
        #expect(ManagerAddress.list("a, b:1 ,[::1]:7") != nil && ManagerAddress.list("a,,b") == nil)
        #expect(ManagerAddress.list("a, b:1")?.map(\.description) == ["a:7401", "b:1"])
    }
}
