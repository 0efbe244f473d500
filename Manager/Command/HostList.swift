import Foundation

/// Hosts as operators write them: `cn[43-45,47]`, comma lists, `@file` with `#` comments (HLT-04, HLT-06).
enum HostList {
    static let maximumHosts = 10_000

    /// In the order given, each host once.
    static func expand(_ text: String, readFile: (String) throws -> String = read) throws(Failure) -> [String] {
        var hosts: [String] = []
        for part in try split(text) {
            if part.hasPrefix("@") {
                let name = String(part.dropFirst())
                guard let content = try? readFile(name) else {
                    throw Failure("cannot read the host list '\(name)'", isUsage: true)
                }
                for line in content.split(whereSeparator: \.isNewline) {
                    let host = line.prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces)
                    if !host.isEmpty { hosts += try expandRange(host) }
                }
            } else {
                hosts += try expandRange(part)
            }
            guard hosts.count <= maximumHosts else {
                throw Failure("the host list names more than \(maximumHosts) hosts", isUsage: true)
            }
        }
        guard !hosts.isEmpty else { throw Failure("the host list is empty", isUsage: true) }
        var seen: Set<String> = []
        return hosts.filter { seen.insert($0).inserted }
    }

    static func read(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    /// At commas outside of brackets.
    private static func split(_ text: String) throws(Failure) -> [String] {
        var parts: [String] = [""]
        var depth = 0
        for character in text {
            switch character {
            case "[": depth += 1
            case "]": depth -= 1
            case "," where depth == 0:
                parts.append("")
                continue
            default: break
            }
            guard (0...1).contains(depth) else {
                throw Failure("the brackets of '\(text)' do not match", isUsage: true)
            }
            parts[parts.count - 1].append(character)
        }
        guard depth == 0 else { throw Failure("the brackets of '\(text)' do not match", isUsage: true) }
        return parts.map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    private static func expandRange(_ text: String) throws(Failure) -> [String] {
        guard let open = text.firstIndex(of: "[") else { return [text] }
        guard let close = text[open...].firstIndex(of: "]") else {
            throw Failure("'\(text)' lacks a ']'", isUsage: true)
        }
        let (prefix, suffix) = (text[..<open], String(text[text.index(after: close)...]))
        let ends = try expandRange(suffix)
        var hosts: [String] = []
        for piece in text[text.index(after: open)..<close].split(separator: ",", omittingEmptySubsequences: false) {
            let bounds = piece.split(separator: "-", omittingEmptySubsequences: false)
            guard bounds.count <= 2, bounds.allSatisfy({ !$0.isEmpty && $0.count <= 9 && $0.allSatisfy(\.isNumber) }),
                let first = Int(bounds[0]), let last = Int(bounds[bounds.count - 1]), first <= last
            else { throw Failure("'\(piece)' in '\(text)' is not a number or a range such as 43-45", isUsage: true) }
            guard (last - first + 1) * ends.count + hosts.count <= maximumHosts else {
                throw Failure("the host list names more than \(maximumHosts) hosts", isUsage: true)
            }
            for number in first...last {
                // The width of the first bound is kept: cn[01-12].
                let digits = String(number)
                let padded = String(repeating: "0", count: max(0, bounds[0].count - digits.count)) + digits
                hosts += ends.map { "\(prefix)\(padded)\($0)" }
            }
        }
        return hosts
    }
}
