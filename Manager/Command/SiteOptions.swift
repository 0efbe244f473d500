import ArgumentParser
import Foundation
import RoostClient

/// Options of every command that talks to a site.
struct SiteOptions: ParsableArguments {
    @Option(
        name: [.customShort("o", allowingJoined: true), .long],
        help: "How answers are printed: table, json or csv; JSON is the API's.")
    var output: OutputFormat = .table

    @Flag(name: .long, help: "Leave out the line of column names.")
    var noHeaders = false

    @Flag(name: .shortAndLong, help: "No notes and no progress, only answers and errors.")
    var quiet = false

    @Flag(name: .long, help: "No colours; so it is where the output is not a terminal (environment: NO_COLOR).")
    var noColors = false

    @Option(name: .long, help: "The profile that 'roost login' keeps (environment: ROOST_PROFILE).")
    var profile: String?

    var printer: Printer { Printer(format: output, headers: !noHeaders, quiet: quiet, colours: !noColors) }

    /// Runs `body` with a client of the chosen site.
    func withClient<Result>(_ body: (APIClient, Printer) async throws -> Result) async throws -> Result {
        let file = ProfileFile()
        let site = try Site.resolve(profile: profile, environment: ProcessInfo.processInfo.environment, file: file)
        return try await APIClient.with(site, file: file) { try await body($0, printer) }
    }
}
