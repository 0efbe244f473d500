import Synchronization

/// Numbers of one name, as Prometheus reads them.
public struct MetricFamily: Sendable {
    public enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    public struct Sample: Sendable {
        /// Appended to the family's name: empty, or `_bucket`, `_sum`, `_count` of a histogram.
        public var suffix: String
        public var labels: [(name: String, value: String)]
        public var value: Double

        public init(_ value: Double, labels: [(name: String, value: String)] = [], suffix: String = "") {
            self.value = value
            self.labels = labels
            self.suffix = suffix
        }
    }

    /// `roost_<part>_<what>_<unit>`
    public var name: String
    public var help: String
    public var kind: Kind
    public var samples: [Sample]

    public init(_ name: String, _ kind: Kind, help: String, samples: [Sample]) {
        self.name = name
        self.kind = kind
        self.help = help
        self.samples = samples
    }

    public static func gauge(_ name: String, help: String, _ value: Double) -> MetricFamily {
        MetricFamily(name, .gauge, help: help, samples: [Sample(value)])
    }
}

/// The page at `/metrics`. Each part of the manager adds a source; the page asks them all when it is read.
public final class MetricsPage: Sendable {
    public typealias Source = @Sendable () async -> [MetricFamily]

    /// Labels must come from bounded sets; should one not, the page stays readable all the same.
    static let maximumSamples = 20_000
    static let type = "text/plain; version=0.0.4; charset=utf-8"

    private let sources = Mutex<[Source]>([])

    public init() {}

    public func add(_ source: @escaping Source) {
        sources.withLock { $0.append(source) }
    }

    /// The text exposition format, version 0.0.4.
    public func render() async -> String {
        var families: [MetricFamily] = []
        for source in sources.withLock({ $0 }) { families += await source() }
        return Self.text(of: families)
    }

    static func text(of families: [MetricFamily]) -> String {
        var text = ""
        var remaining = maximumSamples
        for family in families.sorted(by: { $0.name < $1.name }) {
            text += "# HELP \(family.name) \(escaped(family.help, quotes: false))\n"
            text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
            for sample in family.samples.prefix(remaining) {
                text += family.name + sample.suffix
                if !sample.labels.isEmpty {
                    let labels = sample.labels.map { "\($0.name)=\"\(escaped($0.value, quotes: true))\"" }
                    text += "{" + labels.joined(separator: ",") + "}"
                }
                text += " \(number(sample.value))\n"
            }
            remaining -= min(remaining, family.samples.count)
        }
        return text
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        let plain = text.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
        return quotes ? plain.replacing("\"", with: "\\\"") : plain
    }
}
