import RoostClient
import Testing

@testable import ManagerCommand

@Suite("What went wrong, in words")
struct FailureTests {
    @Test("a problem document gives its detail, its fields, and what each filter removed, in order")
    func problem() {
        let body = """
            {"type":"urn:roost:problem:no_capacity","title":"No capacity","status":409,"code":"no_capacity",
             "detail":"no node has room","errors":[{"pointer":"/vcpus","detail":"must be at most 8"}],
             "removed_by":{"enabled":1,"alive":0,"vcpus":2}}
            """
        let failure = Failure(Problem(status: 409, body: Array(body.utf8)))
        #expect(
            failure.lines == [
                "error: no node has room", "  /vcpus: must be at most 8", "  removed by enabled: 1 node",
                "  removed by vcpus: 2 nodes",
            ])
        #expect(failure.kind == .refused(status: 409, code: "no_capacity"))
        #expect(failure.exitStatus == 1)
    }

    @Test(
        "the token endpoint's errors, and answers that are none",
        arguments: [
            (
                400, #"{"error":"invalid_grant","error_description":"wrong name or password"}"#,
                "error: wrong name or password"
            ),
            (502, "<html>", "error: the manager answered with HTTP status 502"),
            (500, "", "error: the manager answered with HTTP status 500"),
        ])
    func others(status: Int, body: String, line: String) {
        #expect(Failure(Problem(status: status, body: Array(body.utf8))).lines == [line])
    }

    @Test("an expired session says what to do")
    func expired() {
        let failure = Failure(Problem(status: 401, body: Array(#"{"detail":"the token has expired"}"#.utf8)))
        #expect(failure.kind == .unauthorised)
        #expect(failure.lines.last?.contains("roost login") == true)
    }

    @Test("usage is told apart from failing")
    func usage() {
        #expect(Failure.usage("x").exitStatus == 2)
        #expect(
            Failure.together([Failure.usage("x").of("a"), Failure("y").of("b")]).lines == [
                "error: a: x", "error: b: y",
            ])
    }
}
