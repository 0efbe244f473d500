import HTTPTypes
import ManagerIdentity
import ManagerModel

/// What pages have in common in how they answer.
enum PageAnswer {
    /// What a page's route answers, and 400 in OAuth's shape where the request cannot be read.
    static let replies: [(status: Int, reply: Route.Reply)] =
        [200, 400, 403, 404, 429, 503].map { ($0, .text(type: "text/html")) } + [(400, .one(OAuthAnswer.refusal))]

    /// Runs a handler; what goes wrong in signing in is shown on a page.
    static func refusing(
        _ page: (_ problem: String, _ status: Int, _ headers: [(name: String, value: String)]) -> Answer,
        body: () async throws -> Answer
    ) async throws -> Answer {
        do {
            return try await body()
        } catch let error as IdentityError {
            switch error {
            case .wrongCredentials, .notAdmitted, .refusedElsewhere: return page(error.description, 403, [])
            case .tooManyAttempts(let seconds):
                return page(error.description, 429, [("Retry-After", String(seconds))])
            case .busy, .directoryUnavailable: return page(error.description, 503, [("Retry-After", "2")])
            default: throw error
            }
        }
    }

    /// Refuses a form that another site has filled in for its visitor.
    static func checkSameSite(_ call: Call) throws {
        guard let origin = call.header("Sec-Fetch-Site"), origin != "same-origin", origin != "none" else { return }
        throw Problem(
            Refusal(.forbidden, "this form was sent from another site; open the page itself and try again"))
    }
}
