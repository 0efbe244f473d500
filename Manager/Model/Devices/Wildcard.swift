/// A pattern in which `*` stands for any text and `?` for one character. Matching takes time in proportion to text times
/// pattern at most, whatever the pattern is (P10).
struct Wildcard: Sendable {
    private let pattern: [Unicode.Scalar]

    init(_ pattern: String) { self.pattern = Array(pattern.unicodeScalars) }

    func matches(_ text: String) -> Bool {
        let text = Array(text.unicodeScalars)
        var (place, at) = (0, 0)
        // Where the last star stood, and how much text it has taken.
        var star: Int?
        var taken = 0
        while at < text.count {
            if place < pattern.count, pattern[place] == "*" {
                star = place
                taken = at
                place += 1
            } else if place < pattern.count, pattern[place] == "?" || pattern[place] == text[at] {
                place += 1
                at += 1
            } else if let star {
                taken += 1
                place = star + 1
                at = taken
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }
}
