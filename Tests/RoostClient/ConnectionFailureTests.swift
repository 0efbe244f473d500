import AsyncHTTPClient
import NIOCore
import Testing

@testable import RoostClient

@Suite("Why no answer came")
struct ConnectionFailureTests {
    @Test("each way of not connecting has its own sentence")
    func connections() {
        let failures: [ConnectionFailure] = [
            .refused, .unknownHost, .connectTimeout, .untrusted, .wrongName, .notTLS("x"), .timeout, .lost("x"),
        ]
        let sentences = failures.map { $0.sentence(endpoint: "https://m:7400", authorityFile: nil) }
        #expect(Set(sentences).count == failures.count)
        #expect(sentences.allSatisfy { $0.contains("https://m:7400") })
        #expect(ConnectionFailure(HTTPClientError.connectTimeout) == .connectTimeout)
        #expect(ConnectionFailure(HTTPClientError.deadlineExceeded) == .timeout)
        #expect(ConnectionFailure(IOError(errnoCode: 111, reason: "connect")) == .refused)
        #expect(!ConnectionFailure.lost("").isBeforeRequest && ConnectionFailure.refused.isBeforeRequest)
    }
}
