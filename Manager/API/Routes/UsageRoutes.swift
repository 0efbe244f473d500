import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum UsageRoutes {
    /// A report over more than this is asked for in parts.
    static let maximumDays: Int64 = 3700

    static let routes: [Route] = [
        Route(
            .get, "/v1/usage", "What was used, by day, instance or user", .usageRead,
            query: Listings.usage(.instance).query + [
                QueryParameter("user", .reference, "Whose; everybody's for a superuser if not given."),
                QueryParameter("from", .day, "The first day; the first of this month if not given."),
                QueryParameter("to", .day, "The last day, which counts too; today if not given."),
                QueryParameter(
                    "group_by", .choice(UsageRepository.Grouping.allCases.map(\.rawValue)), "instance if not given."),
            ], replies: [(200, .list(UsageResource.item, with: UsageResource.report))], handler: report)
    ]

    @Sendable private static func report(_ call: Call) async throws -> Answer {
        let today = call.now.day
        let to = try day(call, "to") ?? today
        let from = try day(call, "from") ?? firstOfMonth(min(today, to))
        guard from <= to else {
            throw Refusal(
                .invalidRequest, "'from' is after 'to'",
                fields: [.init(pointer: "?from", detail: "must not be after 'to'")])
        }
        guard to.daysSince1970 - from.daysSince1970 < maximumDays else {
            throw Refusal(.invalidRequest, "a report covers at most \(maximumDays) days; ask for it in parts")
        }
        let grouping = call.query.string("group_by").flatMap(UsageRepository.Grouping.init(rawValue:)) ?? .instance
        let scope = try call.scope(.usageRead)
        let request = try Listings.usage(grouping).request(call)
        return try await call.read { transaction in
            let commands = try call.commands(in: transaction)
            let whose = try call.query.string("user").map { .user(try commands.user($0).id) } ?? scope
            let page = try request.page(commands)
            let rows = try transaction.usage.report(whose, from: from, to: to, by: grouping, page)
            let total = try transaction.usage.total(whose, from: from, to: to, page.filters)
            let devices = try transaction.usage.totalDevices(whose, from: from, to: to, page.filters)
            return request.document(
                rows, with: UsageResource.report(total, devices: devices, from: from, to: to),
                encode: UsageResource.encode)
        }
    }

    private static func day(_ call: Call, _ name: String) throws -> CivilDay? {
        guard let text = call.query.string(name) else { return nil }
        guard let day = CivilDay(text), (-719_162...2_932_896).contains(day.daysSince1970) else {
            throw Refusal(
                .invalidRequest, "'\(name)' is not a day",
                fields: [.init(pointer: "?\(name)", detail: "must be a day such as 2026-11-21")])
        }
        return day
    }

    private static func firstOfMonth(_ day: CivilDay) -> CivilDay {
        CivilDay(day.description.prefix(8) + "01") ?? day
    }
}
