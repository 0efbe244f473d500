/// Orders names as people count hosts: runs of digits compare by value.
enum NaturalOrder {
    static func precedes(_ left: String, _ right: String) -> Bool {
        let first = parts(left)
        let second = parts(right)
        for (one, other) in zip(first, second) where one != other { return one < other }
        if first.count != second.count { return first.count < second.count }
        return left < right
    }

    private static func parts(_ text: String) -> [Part] {
        var parts: [Part] = []
        var rest = text.utf8[...]
        while let byte = rest.first {
            let digits = isDigit(byte)
            let run = rest.prefix { isDigit($0) == digits }
            rest = rest.dropFirst(run.count)
            let bytes = Array(run)
            parts.append(digits ? .number(Array(bytes.drop { $0 == 48 })) : .text(bytes))
        }
        return parts
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }

    private enum Part: Equatable, Comparable {
        /// Digits without leading zeros: a longer run is a larger number, whatever its size.
        case number([UInt8])
        case text([UInt8])

        static func < (left: Self, right: Self) -> Bool {
            switch (left, right) {
            case (.number(let one), .number(let other)):
                one.count != other.count ? one.count < other.count : one.lexicographicallyPrecedes(other)
            case (.text(let one), .text(let other)): one.lexicographicallyPrecedes(other)
            case (.number, .text): true
            case (.text, .number): false
            }
        }
    }
}
