import ManagerModel

/// What hosts have in common as far as a request's filters and weights of aggregates go.
struct HostClass: Hashable {
    var profile: HostProfile
    var isOpportunistic: Bool
}

/// The distinct classes of a table's hosts, and what requests make of them. A fleet of thousands has a few dozen, and requests
/// come from a few flavors, so that hardly any decision compares texts.
///
/// A class stays when its last host has gone: whoever changes what aggregates say makes the table anew.
struct HostClasses {
    /// What one kind of request makes of all classes.
    struct Verdict {
        /// What a class adds to the weight; infinitely little where a filter removes it.
        var weights: ContiguousArray<Double> = []
        /// For each bit of a block's set of classes the greatest of those weights.
        private var bits = ContiguousArray(repeating: -Double.infinity, count: 64)
        /// The bits that have a class which is not removed; whose hosts are packed.
        private(set) var accepted: UInt64 = 0
        private(set) var packed: UInt64 = 0
        /// The weight of all of them where it is one.
        private var uniform: Double?

        init(_ classes: ContiguousArray<HostClass>, _ question: Question) {
            for (number, hostClass) in classes.enumerated() {
                guard hostClass.profile.accepts(question) else {
                    weights.append(-.infinity)
                    continue
                }
                let weight = Placement.hostWeight(
                    hostClass.profile, isOpportunistic: hostClass.isOpportunistic, question.opportunistic)
                weights.append(weight)
                let bit = number % 64
                uniform = accepted == 0 || uniform == weight ? weight : nil
                accepted |= 1 << UInt64(bit)
                bits[bit] = max(bits[bit], weight)
                if hostClass.profile.policy == .pack { packed |= 1 << UInt64(bit) }
            }
        }

        /// No class among those weighs more.
        @inline(__always)
        func greatest(of classes: UInt64) -> Double {
            if let uniform { return uniform }
            var (rest, greatest) = (classes, -Double.infinity)
            while rest != 0 {
                greatest = max(greatest, bits[rest.trailingZeroBitCount])
                rest &= rest - 1
            }
            return greatest
        }
    }

    /// The part of a request that is about classes.
    struct Question: Hashable {
        var zone: String?
        var aggregates: [AggregateRequirement]
        var opportunistic: FlavorRequirements.Opportunistic

        init(_ request: PlacementRequest) {
            zone = request.zone
            aggregates = request.aggregates
            opportunistic = request.opportunistic
        }
    }

    private static let rememberedVerdicts = 256

    private(set) var all: ContiguousArray<HostClass> = []
    private(set) var packs: ContiguousArray<Bool> = []
    private var numbers: [HostClass: Int32] = [:]
    private var verdicts: [Question: Verdict] = [:]

    mutating func number(of host: HostSnapshot) -> Int32 {
        let hostClass = HostClass(profile: host.profile, isOpportunistic: host.isOpportunistic)
        if let known = numbers[hostClass] { return known }
        let number = Int32(all.count)
        all.append(hostClass)
        packs.append(host.profile.policy == .pack)
        numbers[hostClass] = number
        verdicts.removeAll()
        return number
    }

    mutating func verdict(for request: PlacementRequest) -> Verdict {
        let question = Question(request)
        if let known = verdicts[question] { return known }
        if verdicts.count >= Self.rememberedVerdicts { verdicts.removeAll() }
        let verdict = Verdict(all, question)
        verdicts[question] = verdict
        return verdict
    }
}

extension HostProfile {
    fileprivate func accepts(_ question: HostClasses.Question) -> Bool {
        (question.zone.map(zones.contains) ?? true) && meets(question.aggregates)
    }
}
