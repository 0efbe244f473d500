import ProtocolModel

/// Where the guest lies on its host: processors, NUMA nodes, huge pages.
extension DomainXML {
    static func memoryBacking(of domain: DomainSpecification) -> [Element] {
        guard domain.place.pageBytes > 0 else { return [] }
        return [
            Element("memoryBacking") {
                Element("hugepages") {
                    Element("page", ["size": "\(domain.place.pageBytes >> 10)", "unit": "KiB"])
                }
            }
        ]
    }

    static func processors(of domain: DomainSpecification) -> [Element] {
        let place = domain.place
        guard !place.cells.isEmpty else {
            let near = domain.numa?.processors.flatMap { ProcessorSet($0) }
            let allowed: ProcessorSet? =
                switch (near, place.shared) {
                case (let near?, let shared?):
                    near.intersection(shared).count >= domain.vcpus ? near.intersection(shared) : shared
                case (let some, nil), (nil, let some): some
                }
            return [vcpus(domain, on: allowed)]
        }
        let each = place.processorsOfEach
        let all = ProcessorSet(each.flatMap(\.numbers))
        // QEMU's own processors in software are one thread, or several that libvirt does not tell apart.
        guard domain.accelerator == .kvm else { return [vcpus(domain, on: all)] }
        let others = place.shared.flatMap { $0.isEmpty ? nil : $0 } ?? all
        return [
            vcpus(domain, on: nil),
            Element("cputune") {
                each.enumerated().filter { !$1.isEmpty }.map { number, processors in
                    Element("vcpupin", ["vcpu": "\(number)", "cpuset": "\(processors)"])
                }
                if !others.isEmpty { Element("emulatorpin", ["cpuset": "\(others)"]) }
            },
        ]
    }

    private static func vcpus(_ domain: DomainSpecification, on processors: ProcessorSet?) -> Element {
        guard let processors, !processors.isEmpty else { return Element("vcpu", text: "\(domain.vcpus)") }
        return Element("vcpu", ["placement": "static", "cpuset": "\(processors)"], text: "\(domain.vcpus)")
    }

    static func memoryPlace(of domain: DomainSpecification) -> [Element] {
        let place = domain.place
        guard place.cells.isEmpty else {
            // Huge pages are counted node by node; ordinary ones, guests that lie anywhere have as well.
            let mode = place.pageBytes > 0 ? "strict" : "preferred"
            return [
                Element("numatune") {
                    place.cells.enumerated().map { number, cell in
                        Element("memnode", ["cellid": "\(number)", "mode": mode, "nodeset": "\(cell.host)"])
                    }
                }
            ]
        }
        guard let numa = domain.numa else { return [] }
        return [Element("numatune") { Element("memory", ["mode": "preferred", "nodeset": "\(numa.node)"]) }]
    }

    /// The guest's own NUMA nodes.
    static func cells(of domain: DomainSpecification) -> [Element] {
        guard !domain.place.cells.isEmpty else { return [] }
        var first = 0
        var cells: [Element] = []
        for (number, cell) in domain.place.cells.enumerated() {
            let own = ProcessorSet(first..<first + cell.vcpus)
            first += cell.vcpus
            cells.append(
                Element(
                    "cell",
                    ["id": "\(number)", "cpus": "\(own)", "memory": "\(cell.memoryBytes >> 10)", "unit": "KiB"]))
        }
        return [Element("numa") { cells }]
    }
}
