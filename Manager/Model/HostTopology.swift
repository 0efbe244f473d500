public import ProtocolModel

/// Which of a host's processors, memory and huge pages are near one another, as its agent reads it from the kernel.
public struct HostTopology: Sendable, Equatable, Codable {
    /// A NUMA node of the host.
    public struct Cell: Sendable, Equatable, Codable {
        public var number: Int
        public var memoryMiB: Int
        /// The logical processors of each core.
        public var cores: [[Int]]
        public var pages: [Pages]

        public init(number: Int, memoryMiB: Int, cores: [[Int]], pages: [Pages] = []) {
            self.number = number
            self.memoryMiB = memoryMiB
            self.cores = cores
            self.pages = pages
        }

        public var processors: ProcessorSet { ProcessorSet(cores.joined()) }
    }

    /// Huge pages of one size that the host's operator has set aside.
    public struct Pages: Sendable, Equatable, Codable {
        public var sizeKiB: Int
        public var total: Int

        public init(sizeKiB: Int, total: Int) {
            self.sizeKiB = sizeKiB
            self.total = total
        }

        public var memoryMiB: Int { total * sizeKiB / 1024 }
    }

    /// In order of their numbers.
    public var cells: [Cell]

    public init(_ cells: [Cell]) { self.cells = cells }

    public var processors: ProcessorSet { ProcessorSet(cells.flatMap { $0.cores.joined() }) }

    /// What guests in huge pages alone can have.
    public var hugePageMiB: Int { cells.reduce(0) { $0 + $1.pages.reduce(0) { $0 + $1.memoryMiB } } }
}

/// Where a guest's processors and memory lie, claimed when it is placed and its until it is deleted, as its share of vCPUs and
/// RAM is.
public struct GuestPlace: Sendable, Equatable, Codable {
    public struct Cell: Sendable, Equatable, Codable {
        /// The host's NUMA node.
        public var host: Int
        public var vcpus: Int
        public var memoryMiB: Int
        /// One for each vCPU; empty: they share those of the node that nobody has alone.
        public var processors: [Int]

        public init(host: Int, vcpus: Int, memoryMiB: Int, processors: [Int] = []) {
            self.host = host
            self.vcpus = vcpus
            self.memoryMiB = memoryMiB
            self.processors = processors
        }
    }

    public var cells: [Cell]
    /// `nil`: ordinary pages.
    public var pageKiB: Int?

    public init(cells: [Cell], pageKiB: Int? = nil) {
        self.cells = cells
        self.pageKiB = pageKiB
    }

    /// vCPUs that have a processor of the host alone.
    public var dedicated: Int { cells.reduce(0) { $0 + $1.processors.count } }
    public var memoryMiB: Int { cells.reduce(0) { $0 + $1.memoryMiB } }
}

/// What a flavor asks for that a `GuestPlace` answers.
public struct CellRequest: Sendable, Hashable {
    public enum Pages: Sendable, Hashable {
        case small
        /// Of any size that is larger.
        case large
        case size(kib: Int)
    }

    public var vcpus: Int
    public var memoryMiB: Int
    /// Of the guest; each lies on a node of the host of its own.
    public var cells: Int
    public var isDedicated: Bool
    public var pages: Pages
    /// So many of them on one host.
    public var copies = 1

    public init(vcpus: Int, memoryMiB: Int, cells: Int = 1, isDedicated: Bool = false, pages: Pages = .small) {
        self.vcpus = vcpus
        self.memoryMiB = memoryMiB
        self.cells = cells
        self.isDedicated = isDedicated
        self.pages = pages
    }

    /// As even as can be; the first have what is over.
    public func shares(of amount: Int) -> [Int] {
        (0..<cells).map { amount / cells + ($0 < amount % cells ? 1 : 0) }
    }
}
