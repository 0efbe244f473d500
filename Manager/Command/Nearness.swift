/// Which of the words that there are somebody may have meant.
enum Nearness {
    /// The nearest word, if it is near enough to be a typing error; the first of several.
    static func nearest(to word: String, among words: some Sequence<String>) -> String? {
        let typed = Array(word.lowercased().unicodeScalars)
        // One error in three characters: "ls" does not become "rm".
        let limit = max(1, typed.count / 3)
        var best: (word: String, distance: Int)?
        for candidate in words where candidate != word {
            let scalars = Array(candidate.lowercased().unicodeScalars)
            guard abs(scalars.count - typed.count) <= limit else { continue }
            let distance = distance(typed, scalars)
            // What shares nothing is no typing error of it.
            guard distance <= limit, distance < max(typed.count, scalars.count), distance < best?.distance ?? .max
            else {
                continue
            }
            best = (candidate, distance)
        }
        return best?.word
    }

    /// Insertions, removals, replacements and swaps of neighbours (optimal string alignment).
    static func distance(_ first: [Unicode.Scalar], _ second: [Unicode.Scalar]) -> Int {
        guard !first.isEmpty, !second.isEmpty else { return max(first.count, second.count) }
        var (beforeLast, last) = ([Int](), Array(0...second.count))
        for (row, scalar) in first.enumerated() {
            var line = [row + 1]
            for (column, other) in second.enumerated() {
                var cost = min(last[column] + (scalar == other ? 0 : 1), last[column + 1] + 1, line[column] + 1)
                if row > 0, column > 0, scalar == second[column - 1], first[row - 1] == other {
                    cost = min(cost, beforeLast[column - 1] + 1)
                }
                line.append(cost)
            }
            (beforeLast, last) = (last, line)
        }
        return last[second.count]
    }
}
