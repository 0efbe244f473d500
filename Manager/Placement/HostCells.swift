public import ManagerModel
public import ProtocolModel

/// A host's NUMA nodes and who has a place there. What is free is worked out for those alone who ask for a place, which few do.
public struct HostLayout: Sendable, Equatable {
    public var topology: HostTopology
    /// Processors that may be a guest's alone.
    public var dedicated: ProcessorSet
    public var places: [GuestPlace]

    public init(_ topology: HostTopology, dedicated: ProcessorSet, places: some Sequence<GuestPlace>) {
        self.topology = topology
        self.dedicated = dedicated
        self.places = Array(places)
    }

    public var cells: HostCells { HostCells(topology, dedicated: dedicated, places: places) }
}

/// What is free of a host's NUMA nodes: processors for one guest alone, memory, huge pages.
public struct HostCells: Sendable, Equatable {
    struct Cell: Sendable, Equatable {
        var number: Int
        /// Free processors that may be a guest's alone, core by core; those of a core that has none left are not named.
        var cores: [[Int]]
        var coreSizes: [Int]
        /// Has processors that guests share.
        var isShared: Bool
        /// Of ordinary pages, less what guests whose place is fixed have.
        var memoryMiB: Int
        /// Free pages, by size.
        var pages: [Int: Int]

        var free: Int { cores.reduce(0) { $0 + $1.count } }
    }

    private(set) var cells: [Cell]

    /// - Parameters:
    ///   - dedicated: processors that may be a guest's alone.
    ///   - places: those of the guests that are there.
    public init(_ topology: HostTopology, dedicated: ProcessorSet, places: some Sequence<GuestPlace>) {
        let places = Array(places)
        let taken = Set(places.flatMap { $0.cells.flatMap(\.processors) })
        cells = topology.cells.map { cell in
            let huge = cell.pages.reduce(0) { $0 + $1.memoryMiB }
            let cores = cell.cores.map { core in core.filter { dedicated.contains($0) && !taken.contains($0) } }
            return Cell(
                number: cell.number, cores: cores, coreSizes: cell.cores.map(\.count),
                isShared: cell.cores.contains { $0.contains { !dedicated.contains($0) && !taken.contains($0) } },
                memoryMiB: cell.memoryMiB - huge,
                pages: Dictionary(cell.pages.map { ($0.sizeKiB, $0.total) }) { $0 + $1 })
        }
        for place in places {
            for guest in place.cells { take(memoryOf: guest, pageKiB: place.pageKiB) }
        }
    }

    /// Memory in huge pages that guests have and that are not set aside any more.
    var hugeMiBBeyond: Int {
        cells.reduce(0) { $0 + $1.pages.reduce(0) { $0 + max(0, -$1.value) * $1.key / 1024 } }
    }

    /// Why a request has no place here; `nil`: it has one.
    enum Lack: Sendable, Equatable { case processors, pages, together }

    func lack(_ request: CellRequest) -> Lack? {
        if place(request) != nil, hold(request) { return nil }
        let copies = request.copies
        if request.isDedicated, cells.reduce(0, { $0 + $1.free }) < request.vcpus * copies { return .processors }
        if request.pages != .small {
            let sizes = sizes(request)
            let hasEnough = sizes.contains { size in
                cells.reduce(0) { $0 + max(0, $1.pages[size] ?? 0) } >= request.memoryMiB * 1024 / size * copies
            }
            if !hasEnough { return .pages }
        }
        return .together
    }

    /// Whether all copies of a request have a place, one after the other.
    private func hold(_ request: CellRequest) -> Bool {
        guard request.copies > 1 else { return true }
        var rest = self
        for _ in 0..<request.copies {
            guard let place = rest.place(request) else { return false }
            rest.take(place)
        }
        return true
    }

    /// Sizes of pages that would do, the largest first.
    private func sizes(_ request: CellRequest) -> [Int] {
        switch request.pages {
        case .small: []
        case .size(let kib): [kib]
        case .large: Set(cells.flatMap { $0.pages.keys }).sorted(by: >)
        }
    }

    /// Where a guest would lie; `nil`: nowhere. Its cells lie on nodes of the host of their own. The parts differ by one vCPU or
    /// a MiB at most, and the larger are larger in both, so that every node that takes a larger one takes a smaller one, and
    /// filling the nodes that take the larger first finds a place wherever there is one.
    ///
    /// - Parameter near: nodes of the host that go first, since the guest's devices are there.
    public func place(_ request: CellRequest, near: Set<Int> = []) -> GuestPlace? {
        guard request.cells >= 1, request.vcpus >= request.cells else { return nil }
        guard request.pages != .small else { return place(request, near: near, pageKiB: nil) }
        for size in sizes(request) {
            if let place = place(request, near: near, pageKiB: size) { return place }
        }
        return nil
    }

    private func place(_ request: CellRequest, near: Set<Int>, pageKiB: Int?) -> GuestPlace? {
        guard let memory = Self.memory(request, pageKiB: pageKiB) else { return nil }
        // Those near the devices, then the fullest: what is left stays in large pieces.
        let order = cells.indices.sorted { left, right in
            let (first, second) = (cells[left], cells[right])
            return (near.contains(first.number) ? 0 : 1, room(first, request, pageKiB), first.number)
                < (near.contains(second.number) ? 0 : 1, room(second, request, pageKiB), second.number)
        }
        var used: Set<Int> = []
        var found: [GuestPlace.Cell] = []
        for (vcpus, memoryMiB) in zip(request.shares(of: request.vcpus), memory) {
            let chosen = order.first { index in
                !used.contains(index)
                    && cells[index].takes(
                        vcpus: request.isDedicated ? vcpus : nil, memoryMiB: memoryMiB, pageKiB: pageKiB)
            }
            guard let chosen else { return nil }
            used.insert(chosen)
            found.append(
                GuestPlace.Cell(
                    host: cells[chosen].number, vcpus: vcpus, memoryMiB: memoryMiB,
                    processors: request.isDedicated ? cells[chosen].choose(vcpus) : []))
        }
        return GuestPlace(cells: found, pageKiB: pageKiB)
    }

    private func room(_ cell: Cell, _ request: CellRequest, _ pageKiB: Int?) -> Int {
        if request.isDedicated { return cell.free }
        return pageKiB.map { cell.pages[$0] ?? 0 } ?? cell.memoryMiB
    }

    /// What each of the guest's cells has, in whole pages; `nil` where its memory is none.
    private static func memory(_ request: CellRequest, pageKiB: Int?) -> [Int]? {
        guard let pageKiB else { return request.shares(of: request.memoryMiB) }
        guard pageKiB >= 1024, request.memoryMiB * 1024 % pageKiB == 0 else { return nil }
        return request.shares(of: request.memoryMiB * 1024 / pageKiB).map { $0 * (pageKiB / 1024) }
    }

    /// Counts a guest in.
    public mutating func take(_ place: GuestPlace) {
        for guest in place.cells {
            take(memoryOf: guest, pageKiB: place.pageKiB)
            guard let index = cells.firstIndex(where: { $0.number == guest.host }) else { continue }
            let taken = Set(guest.processors)
            cells[index].cores = cells[index].cores.map { $0.filter { !taken.contains($0) } }
        }
    }

    private mutating func take(memoryOf guest: GuestPlace.Cell, pageKiB: Int?) {
        guard let index = cells.firstIndex(where: { $0.number == guest.host }) else { return }
        guard let pageKiB else {
            cells[index].memoryMiB -= guest.memoryMiB
            return
        }
        let before = cells[index].pages[pageKiB] ?? 0
        let after = before - guest.memoryMiB * 1024 / pageKiB
        cells[index].pages[pageKiB] = after
        // More than is set aside by now: the kernel gave up a page only once it was free, so that guests have the others.
        let beyond = max(0, -after) - max(0, -before)
        cells[index].memoryMiB -= beyond * pageKiB / 1024
    }
}

extension HostCells.Cell {
    /// - Parameter vcpus: that want a processor alone; `nil`: they share some.
    fileprivate func takes(vcpus: Int?, memoryMiB: Int, pageKiB: Int?) -> Bool {
        guard vcpus.map({ free >= $0 }) ?? isShared else { return false }
        guard let pageKiB else { return self.memoryMiB >= memoryMiB }
        return (pages[pageKiB] ?? 0) * (pageKiB / 1024) >= memoryMiB
    }

    /// Whole cores first, then what is left of broken ones, then a core that is broken for it: threads of a core go to one guest
    /// where that can be.
    fileprivate func choose(_ count: Int) -> [Int] {
        var chosen: [Int] = []
        let whole = cores.indices.filter { !cores[$0].isEmpty && cores[$0].count == coreSizes[$0] }
        for index in whole where chosen.count + cores[index].count <= count { chosen += cores[index] }
        let taken = Set(chosen)
        let rest = cores.indices.filter { !cores[$0].isEmpty && !taken.contains(cores[$0][0]) }
            .sorted { (coreSizes[$1] - cores[$1].count, $0) < (coreSizes[$0] - cores[$0].count, $1) }
        for index in rest {
            for processor in cores[index] where chosen.count < count { chosen.append(processor) }
        }
        return chosen.sorted()
    }
}
