/// Finds the word that somebody most likely meant.
enum NearMiss {
    /// The closest candidate within a third of its length in edits, or one that ends in the same last word.
    static func nearest(to word: String, among candidates: [String]) -> String? {
        let ranked = candidates.map { (candidate: $0, distance: distance(word.lowercased(), $0.lowercased())) }
            .min { $0.distance < $1.distance }
        if let ranked, ranked.distance <= max(1, min(word.count, ranked.candidate.count) / 3) {
            return ranked.candidate
        }
        let last = word.split(separator: ".").last
        let sameEnd = candidates.filter { $0.split(separator: ".").last == last }
        return sameEnd.count == 1 ? sameEnd[0] : nil
    }

    /// Levenshtein's distance; words are cut at 128 characters, since outside input must not buy quadratic time.
    static func distance(_ left: String, _ right: String) -> Int {
        let left = Array(left.prefix(128))
        let right = Array(right.prefix(128))
        var row = Array(0...right.count)
        for (i, character) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, other) in right.enumerated() {
                let replaced = diagonal + (character == other ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
            }
        }
        return row[right.count]
    }
}
