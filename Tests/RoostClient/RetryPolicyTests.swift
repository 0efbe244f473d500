import Testing

@testable import RoostClient

@Suite("When a request is sent again")
struct RetryPolicyTests {
    private let policy = RetryPolicy(pauses: [.seconds(1), .seconds(2)], random: { 0 })

    @Test("what surely did nothing may always be; what may have, only where that does no harm")
    func failures() {
        func pause(_ failure: ConnectionFailure, _ isRepeatable: Bool) -> Duration? {
            policy.pause(after: .failure(failure), attempt: 1, isRepeatable: isRepeatable)
        }
        #expect(pause(.refused, false) == .seconds(1))
        #expect(pause(.lost("x"), false) == nil && pause(.lost("x"), true) == .seconds(1))
        #expect(pause(.untrusted, true) == nil && pause(.unknownHost, true) == nil)
    }

    @Test("answers stand, but for a manager that is not ready or has had enough")
    func answers() {
        func pause(_ status: Int, after wish: Duration? = nil) -> Duration? {
            policy.pause(after: .answer(status: status, retryAfter: wish), attempt: 1, isRepeatable: false)
        }
        #expect(pause(503) == .seconds(1) && pause(429) == .seconds(1))
        #expect(pause(200) == nil && pause(500) == nil && pause(409) == nil)
        #expect(pause(503, after: .seconds(7)) == .seconds(7) && pause(503, after: .milliseconds(1)) == .seconds(1))
        #expect(pause(429, after: .seconds(600)) == nil)
    }

    @Test("not for ever")
    func bound() {
        func pause(_ attempt: Int) -> Duration? {
            policy.pause(after: .failure(.refused), attempt: attempt, isRepeatable: true)
        }
        #expect(pause(2) == .seconds(2) && pause(3) == nil)
        #expect(RetryPolicy.never.pause(after: .failure(.refused), attempt: 1, isRepeatable: true) == nil)
    }

    @Test("chance takes away a share of each pause at most", arguments: [0, 0.5, 1])
    func jitter(chance: Double) {
        let policy = RetryPolicy(pauses: [.seconds(4)], jitter: 0.25, random: { chance })
        let pause = policy.pause(after: .failure(.refused), attempt: 1, isRepeatable: true)
        #expect(pause == .seconds(4) * (1 - 0.25 * chance))
    }
}
