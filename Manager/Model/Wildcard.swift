/// A pattern in which `*` stands for any text, also none. Matching takes time in proportion to text times pattern at most,
/// whatever the pattern is (P10).
struct Wildcard: Sendable {
    private let pattern: [Unicode.Scalar]

    init(_ pattern: String) { self.pattern = Array(pattern.unicodeScalars) }

    /// Each `*` takes as little as it can; where the rest does not fit, the last one takes one more.
    func matches(_ text: String) -> Bool {
        let text = Array(text.unicodeScalars)
        var (place, at) = (0, 0)
        var star: (place: Int, at: Int)?
        while at < text.count {
            if place < pattern.count, pattern[place] == "*" {
                star = (place, at)
                place += 1
            } else if place < pattern.count, pattern[place] == text[at] {
                place += 1
                at += 1
            } else if let last = star {
                star = (last.place, last.at + 1)
                (place, at) = (last.place + 1, last.at + 1)
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }
}
