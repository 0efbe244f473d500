import ProtocolModel
import Testing

@testable import ManagerIdentity

private func at(_ seconds: Double) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }

@Suite("Attempt limiter")
struct AttemptLimiterTests {
    @Test("a burst is allowed, then one each ten seconds")
    func burst() {
        var limiter = AttemptLimiter()
        for _ in 0..<10 { #expect(limiter.take(name: "ann", address: "a", at: at(0)) == nil) }
        let wait = limiter.take(name: "ann", address: "a", at: at(0))
        #expect(wait == .seconds(10))
        #expect(limiter.take(name: "ann", address: "a", at: at(9)) != nil)
        #expect(limiter.take(name: "ann", address: "a", at: at(10)) == nil)
    }

    @Test("a refused attempt costs nothing more")
    func refusedIsFree() {
        var limiter = AttemptLimiter()
        for _ in 0..<100 { _ = limiter.take(name: "ann", address: "a", at: at(0)) }
        #expect(limiter.take(name: "ann", address: "a", at: at(10)) == nil)
    }

    @Test("others are not touched; letters' case is no way around")
    func apart() {
        var limiter = AttemptLimiter()
        for _ in 0..<10 { _ = limiter.take(name: "ann", address: "a", at: at(0)) }
        #expect(limiter.take(name: "ANN", address: "a", at: at(0)) != nil)
        #expect(limiter.take(name: "ann", address: "b", at: at(0)) == nil)
        #expect(limiter.take(name: "bob", address: "a", at: at(0)) == nil)
    }

    @Test("trying many names from one address runs into the address's limit")
    func spraying() {
        var limiter = AttemptLimiter()
        let admitted = (0..<1000).count { limiter.take(name: "user\($0)", address: "a", at: at(0)) == nil }
        #expect(admitted == 100)
    }

    @Test("success gives the attempt back, so that signing in often is free")
    func success() {
        var limiter = AttemptLimiter()
        for _ in 0..<1000 {
            #expect(limiter.take(name: "ann", address: "a", at: at(0)) == nil)
            limiter.giveBack(name: "ann", address: "a", at: at(0))
        }
        #expect(limiter.count == 0)
    }

    @Test("the table is bounded, and those who tried most are not forgotten")
    func bounded() {
        var limiter = AttemptLimiter(capacity: 100)
        for _ in 0..<10 { _ = limiter.take(name: "ann", address: "attacker", at: at(0)) }
        for index in 0..<10_000 {
            _ = limiter.take(name: "u", address: "\(index)", at: at(0))
            #expect(limiter.count <= 100)
        }
        #expect(limiter.take(name: "ann", address: "attacker", at: at(0)) != nil)
    }

    @Test("a clock that stands still or goes back gives nothing")
    func clock() {
        var limiter = AttemptLimiter()
        for _ in 0..<10 { _ = limiter.take(name: "ann", address: "a", at: at(100)) }
        #expect(limiter.take(name: "ann", address: "a", at: at(50)) != nil)
    }
}
