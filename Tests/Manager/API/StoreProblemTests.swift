import ManagerStore
import Testing

@testable import ManagerAPI

@Suite("What users hear of the store")
struct StoreProblemTests {
    @Test("what keeps the record from serving is a 503 with what goes on and what to do; servers' names stay inside")
    func problems() throws {
        let errors: [StoreError] = [
            .diskFull, .closed, .busy, .conflict("x"), .unavailable(.unreachable("db1.inside:3306")),
            .unavailable(.lost("db1.inside:3306")), .unavailable(.readOnly(host: "db1.inside")),
            .unavailable(.notReady(host: "db1.inside", state: "Initialized", hasQuorum: false)),
            .unavailable(.notReady(host: "db1.inside", state: "Joining", hasQuorum: true)),
            .unavailable(.refused("db1.inside")), .unavailable(.outcomeUnknown),
        ]
        for error in errors {
            let problem = try #require(Problem(error))
            #expect(problem.status == 503, "\(error)")
            #expect(["storage_unavailable", "busy"].contains(problem.code))
            #expect(problem.headers.contains { $0.0 == "Retry-After" })
            #expect(!problem.detail.contains("inside"))
            #expect(problem.detail.contains("again"), "\(problem.detail)")
        }
        #expect(Problem(StoreError.corrupt("x")) == nil)
    }
}
