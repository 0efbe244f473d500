/// Where a guest's processors and memory lie on its host, as the host is told.
public struct DomainPlace: Sendable, Hashable {
    /// A NUMA node of the guest, on one of the host.
    public struct Cell: Sendable, Hashable {
        /// The host's NUMA node.
        public var host: Int
        public var vcpus: Int
        public var memoryBytes: UInt64
        /// Of the host, one for each vCPU, its alone; empty: it shares `shared`.
        public var processors: [Int]
        /// Of the host's node, that nobody has alone.
        public var shared: ProcessorSet

        public init(host: Int, vcpus: Int, memoryBytes: UInt64, processors: [Int], shared: ProcessorSet) {
            self.host = host
            self.vcpus = vcpus
            self.memoryBytes = memoryBytes
            self.processors = processors
            self.shared = shared
        }
    }

    /// Empty: anywhere.
    public var cells: [Cell]
    /// 0: ordinary pages.
    public var pageBytes: UInt64
    /// Those of the host that nobody has alone; `nil`: all.
    public var shared: ProcessorSet?

    public init(cells: [Cell] = [], pageBytes: UInt64 = 0, shared: ProcessorSet? = nil) {
        self.cells = cells
        self.pageBytes = pageBytes
        self.shared = shared
    }

    /// What each vCPU may run on, in their order; empty where they may run on all of the host.
    public var processorsOfEach: [ProcessorSet] {
        cells.flatMap { cell in
            cell.processors.isEmpty
                ? Array(repeating: cell.shared.isEmpty ? shared ?? .none : cell.shared, count: cell.vcpus)
                : cell.processors.map { ProcessorSet([$0]) }
        }
    }

    /// Whether a vCPU of it could run only where other guests are alone.
    public var hasNowhereToRun: Bool {
        guard let shared, shared.isEmpty else { return false }
        return cells.isEmpty || cells.contains { $0.processors.isEmpty && $0.shared.isEmpty }
    }
}
