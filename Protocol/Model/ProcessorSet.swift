/// Logical processors of a host, as Linux and libvirt write them: `0-3,8,10-11`.
public struct ProcessorSet: Sendable, Hashable, CustomStringConvertible {
    /// More than any host that runs guests has.
    public static let largest = 4095

    /// In order, each once.
    public private(set) var numbers: [Int]

    public init(_ numbers: some Sequence<Int>) { self.numbers = Set(numbers).sorted() }

    public static let none = ProcessorSet([])

    /// Reads what Linux and libvirt write; `nil` where it is no such text. An empty one is no processor at all.
    public init?(_ text: String) {
        var found: Set<Int> = []
        guard text.utf8.count <= 8192 else { return nil }
        guard !text.isEmpty else {
            self = .none
            return
        }
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Self.number($0) }
            guard (1...2).contains(ends.count), let first = ends[0], let last = ends.last ?? nil, first <= last else {
                return nil
            }
            found.formUnion(first...last)
        }
        self.init(found)
    }

    private static func number(_ text: Substring) -> Int? {
        guard (1...4).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            let number = Int(text),
            number <= largest
        else { return nil }
        return number
    }

    public var isEmpty: Bool { numbers.isEmpty }
    public var count: Int { numbers.count }

    public func contains(_ number: Int) -> Bool {
        var (low, high) = (0, numbers.count)
        while low < high {
            let middle = (low + high) / 2
            if numbers[middle] < number { low = middle + 1 } else { high = middle }
        }
        return low < numbers.count && numbers[low] == number
    }

    public func subtracting(_ other: ProcessorSet) -> ProcessorSet {
        ProcessorSet(numbers.filter { !other.contains($0) })
    }

    public func intersection(_ other: ProcessorSet) -> ProcessorSet {
        ProcessorSet(numbers.filter { other.contains($0) })
    }

    /// In order, with runs as `first-last`.
    public var description: String {
        var parts: [String] = []
        var index = 0
        while index < numbers.count {
            var end = index
            while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
            parts.append(index == end ? "\(numbers[index])" : "\(numbers[index])-\(numbers[end])")
            index = end + 1
        }
        return parts.joined(separator: ",")
    }
}
