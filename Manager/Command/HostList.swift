import Foundation

/// Hosts as operators write them: `cn[43-45,47]`, comma lists, `@file` with `#` comments (HLT-04 to HLT-06).
enum HostList {
    /// A slip such as `cn[1-999999999]` must end in a sentence, not in a full memory.
    static let maximumHosts = 10_000
    static let maximumFileBytes = 1 << 20
    private static let maximumDigits = 9
    private static let maximumNameLength = 253

    /// In the order given, each host once.
    static func expand(
        _ text: String, readFile: (String) throws(Failure) -> String = Self.readFile
    ) throws(Failure) -> [String] {
        var hosts: [String] = []
        for part in try split(text) {
            guard part.hasPrefix("@") else {
                try add(part, to: &hosts)
                continue
            }
            for line in try readFile(String(part.dropFirst())).split(whereSeparator: \.isNewline) {
                let content = line.prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces)
                for host in try split(content) {
                    guard !host.hasPrefix("@") else {
                        throw .usage("'\(host)': a host list's file names no other file")
                    }
                    try add(host, to: &hosts)
                }
            }
        }
        guard !hosts.isEmpty else { throw .usage("the host list '\(text)' names no host") }
        var seen: Set<String> = []
        return hosts.filter { seen.insert($0).inserted }
    }

    static func readFile(_ path: String) throws(Failure) -> String {
        guard let handle = FileHandle(forReadingAtPath: path),
            let data = try? handle.read(upToCount: maximumFileBytes + 1)
        else {
            throw .usage("cannot read the host list '\(path)'")
        }
        guard data.count <= maximumFileBytes, let text = String(data: data, encoding: .utf8) else {
            throw .usage("'\(path)' is not a host list: it has more than 1 MiB, or is no text")
        }
        return text
    }

    private static func add(_ pattern: String, to hosts: inout [String]) throws(Failure) {
        hosts += try expanded(pattern[...], of: pattern)
        guard hosts.count <= maximumHosts else { throw tooMany }
    }

    private static var tooMany: Failure { .usage("the host list names more than \(maximumHosts) hosts") }

    /// At commas outside of brackets.
    private static func split(_ text: String) throws(Failure) -> [String] {
        var parts = [""]
        var isInside = false
        for character in text {
            switch character {
            case "[" where !isInside: isInside = true
            case "]" where isInside: isInside = false
            case "[", "]": throw .usage("the brackets of '\(text)' do not match")
            case "," where !isInside:
                parts.append("")
                continue
            default: break
            }
            parts[parts.count - 1].append(character)
        }
        guard !isInside else { throw .usage("the brackets of '\(text)' do not match") }
        return parts.map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    /// All names of a pattern: what stands in front of the first bracket, each number in it, and each end.
    private static func expanded(_ rest: Substring, of pattern: String) throws(Failure) -> [String] {
        guard let open = rest.firstIndex(of: "["), let close = rest[open...].firstIndex(of: "]") else {
            try check(rest, of: pattern)
            return [String(rest)]
        }
        let prefix = rest[..<open]
        try check(prefix, of: pattern)
        let ends = try expanded(rest[rest.index(after: close)...], of: pattern)
        var names: [String] = []
        for range in rest[rest.index(after: open)..<close].split(separator: ",", omittingEmptySubsequences: false) {
            let (first, last, width) = try bounds(range, of: pattern)
            guard names.count + (last - first + 1) * ends.count <= maximumHosts else { throw tooMany }
            for number in first...last {
                let digits = String(number)
                let zeros = String(repeating: "0", count: max(0, width - digits.count))
                names += ends.map { "\(prefix)\(zeros)\(digits)\($0)" }
            }
        }
        return names
    }

    /// `43-45` or `47`; the first bound's width is kept, as in `cn[01-12]`.
    private static func bounds(_ text: Substring, of pattern: String) throws(Failure) -> (Int, Int, width: Int) {
        let bounds = text.split(separator: "-", omittingEmptySubsequences: false)
            .map { $0.trimmingCharacters(in: .whitespaces) }
        guard let low = bounds.first, let high = bounds.last, bounds.count <= 2,
            bounds.allSatisfy({
                (1...maximumDigits).contains($0.utf8.count) && $0.utf8.allSatisfy { (0x30...0x39).contains($0) }
            }),
            let first = Int(low), let last = Int(high)
        else { throw .usage("'\(text)' in '\(pattern)' is not a number or a range such as 43-45") }
        guard first <= last else { throw .usage("the range '\(text)' in '\(pattern)' runs backwards") }
        return (first, last, low.utf8.count)
    }

    private static func check(_ part: Substring, of pattern: String) throws(Failure) {
        guard part.utf8.count <= maximumNameLength,
            part.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) })
        else { throw .usage("'\(pattern)' is not a host name, or a range such as cn[43-45,47]") }
    }
}
