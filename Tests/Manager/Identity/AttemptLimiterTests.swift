import ProtocolModel
import Testing

@testable import ManagerIdentity

private func at(_ seconds: Double) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }

@Suite("Attempt limiter")
struct AttemptLimiterTests {
    @Test("a burst is allowed, then one each ten seconds")
    func burst() {
        var limiter = AttemptLimiter()
        for _ in 0..<10 { #expect(limiter.take(name: "ann", address: "a", at: at(0)) == .goOn) }
        let wait = limiter.take(name: "ann", address: "a", at: at(0))
        #expect(wait == .wait(.seconds(10)))
        #expect(limiter.take(name: "ann", address: "a", at: at(9)) != .goOn)
        #expect(limiter.take(name: "ann", address: "a", at: at(10)) == .goOn)
    }

    @Test("a refused attempt costs nothing more")
    func refusedIsFree() {
        var limiter = AttemptLimiter()
        for _ in 0..<100 { _ = limiter.take(name: "ann", address: "a", at: at(0)) }
        #expect(limiter.take(name: "ann", address: "a", at: at(10)) == .goOn)
    }

    @Test("others are not touched; letters' case is no way around")
    func apart() {
        var limiter = AttemptLimiter()
        for _ in 0..<10 { _ = limiter.take(name: "ann", address: "a", at: at(0)) }
        #expect(limiter.take(name: "ANN", address: "a", at: at(0)) != .goOn)
        #expect(limiter.take(name: "ann", address: "b", at: at(0)) == .goOn)
        #expect(limiter.take(name: "bob", address: "a", at: at(0)) == .goOn)
    }

    @Test("trying many names from one address runs into the address's limit")
    func spraying() {
        var limiter = AttemptLimiter()
        let admitted = (0..<1000).count { limiter.take(name: "user\($0)", address: "a", at: at(0)) == .goOn }
        #expect(admitted == 100)
    }

    @Test("success gives the attempt back, so that signing in often is free")
    func success() {
        var limiter = AttemptLimiter()
        for _ in 0..<1000 {
            #expect(limiter.take(name: "ann", address: "a", at: at(0)) == .goOn)
            limiter.giveBack(name: "ann", address: "a", at: at(0))
        }
        #expect(limiter.count == 0)
    }

    @Test("many addresses share one name's limit, and those where it has signed in before do not")
    func distributed() {
        var limiter = AttemptLimiter()
        let admitted = (0..<1000).count { limiter.take(name: "ann", address: "bot\($0)", at: at(0)) == .goOn }
        #expect(admitted == 100)
        #expect(limiter.take(name: "ann", address: "cafe", at: at(0)) == .waitUnlessFamiliar(.seconds(5)))
        #expect(limiter.take(name: "ann", address: "desk", isFamiliar: true, at: at(0)) == .goOn)
        #expect(limiter.take(name: "bob", address: "desk", at: at(0)) == .goOn)
        // What is guessed from a familiar address is still counted there.
        for _ in 0..<9 { #expect(limiter.take(name: "ann", address: "desk", isFamiliar: true, at: at(0)) == .goOn) }
        #expect(limiter.take(name: "ann", address: "desk", isFamiliar: true, at: at(0)) == .wait(.seconds(10)))
        #expect(limiter.take(name: "ann", address: "cafe", at: at(5)) == .goOn)
    }

    @Test("the table is bounded, and those who tried most are not forgotten")
    func bounded() {
        var limiter = AttemptLimiter(capacity: 100)
        for _ in 0..<10 { _ = limiter.take(name: "ann", address: "attacker", at: at(0)) }
        for index in 0..<10_000 {
            _ = limiter.take(name: "u", address: "\(index)", at: at(0))
            #expect(limiter.count <= 100)
        }
        #expect(limiter.take(name: "ann", address: "attacker", at: at(0)) != .goOn)
    }

    @Test("a clock that stands still or goes back gives nothing")
    func clock() {
        var limiter = AttemptLimiter()
        for _ in 0..<10 { _ = limiter.take(name: "ann", address: "a", at: at(100)) }
        #expect(limiter.take(name: "ann", address: "a", at: at(50)) != .goOn)
    }
}
