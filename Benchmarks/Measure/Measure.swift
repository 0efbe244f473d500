import ArgumentParser

/// Parts of the manager, measured in one process without network; and records of many rows, made for measuring others.
/// What it prints are lines `NAME VALUE` for the benchmarks that start it.
@main
struct Measure: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "roost-measure", abstract: "Measures parts of the manager.",
        subcommands: [PlacementRate.self, PlacementMix.self, UsageRate.self, Populate.self])
}

/// A line for the benchmark that reads this program's output.
func report(_ name: String, _ value: Double) { print(name, value) }
