import Foundation
import Yams

/// The settings of a YAML file, flattened to dotted keys, each with the line it stands on.
struct ConfigurationFile: Sendable {
    struct Entry: Sendable {
        let text: String
        let line: Int
    }

    /// A configuration file is written by a person; anything larger is the wrong file.
    static let maximumBytes = 1024 * 1024
    static let maximumDepth = 8

    let path: String
    private(set) var entries: [String: Entry] = [:]

    /// Reads the file; `nil` where it does not exist and need not.
    static func read(path: String, mustExist: Bool) throws(SettingsError) -> ConfigurationFile? {
        let data: Data
        do {
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            guard attributes[.type] as? FileAttributeType != .typeDirectory else {
                throw SettingsError.unreadableFile(path: path, reason: "it is a folder")
            }
            guard (attributes[.size] as? Int ?? 0) <= maximumBytes else {
                throw SettingsError.unreadableFile(path: path, reason: "it is larger than 1 MiB")
            }
            data = try Data(contentsOf: URL(fileURLWithPath: path))
        } catch let error as SettingsError {
            throw error
        } catch let error as CocoaError where error.code == .fileReadNoSuchFile || error.code == .fileNoSuchFile {
            if !mustExist { return nil }
            throw .unreadableFile(path: path, reason: "there is no such file")
        } catch {
            throw .unreadableFile(path: path, reason: error.localizedDescription)
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw .malformedFile(path: path, line: nil, reason: "the file is not UTF-8")
        }
        return try ConfigurationFile(path: path, text: text)
    }

    init(path: String, text: String) throws(SettingsError) {
        self.path = path
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw Self.translate(error, path: path)
        }
        guard let root, root.scalar?.string.isEmpty != true else { return }
        guard case .mapping(let mapping) = root else {
            throw .malformedFile(
                path: path, line: 1, reason: "the file must hold settings such as 'api:' and below it '  port: 7400'")
        }
        try flatten(mapping, prefix: "", depth: 1)
    }

    private mutating func flatten(_ mapping: Node.Mapping, prefix: String, depth: Int) throws(SettingsError) {
        guard depth <= Self.maximumDepth else {
            throw .malformedFile(
                path: path, line: nil, reason: "settings are nested more than \(Self.maximumDepth) deep")
        }
        for (keyNode, value) in mapping {
            let line = keyNode.mark?.line ?? 0
            guard let name = keyNode.scalar?.string, !name.isEmpty else {
                throw .malformedFile(path: path, line: line, reason: "the name of a setting must be a word")
            }
            let key = prefix.isEmpty ? name : prefix + "." + name
            switch value {
            case .mapping(let inner):
                try flatten(inner, prefix: key, depth: depth + 1)
            case .scalar(let scalar):
                try add(key, Entry(text: Self.text(of: value, scalar), line: line))
            case .sequence(let sequence):
                var parts: [String] = []
                for element in sequence {
                    guard case .scalar(let scalar) = element, !scalar.string.contains(",") else {
                        throw .malformedFile(
                            path: path, line: element.mark?.line ?? line,
                            reason: "the entries of \(key) must be single values without commas")
                    }
                    parts.append(scalar.string)
                }
                try add(key, Entry(text: parts.joined(separator: ","), line: line))
            case .alias:
                throw .malformedFile(
                    path: path, line: line, reason: "aliases are not supported; write the value of \(key) out")
            }
        }
    }

    private mutating func add(_ key: String, _ entry: Entry) throws(SettingsError) {
        guard entries.updateValue(entry, forKey: key) == nil else {
            throw .repeatedKey(key: key, origin: .file(path: path, line: entry.line))
        }
    }

    /// A key with nothing after it (`proxy:`) means the empty text, not the word `null`.
    private static func text(of node: Node, _ scalar: Node.Scalar) -> String {
        node.null != nil && scalar.style == .any || node.null != nil && scalar.style == .plain ? "" : scalar.string
    }

    private static func translate(_ error: any Error, path: String) -> SettingsError {
        guard let error = error as? YamlError else {
            return .malformedFile(path: path, line: nil, reason: "the file is not YAML")
        }
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return .malformedFile(path: path, line: mark.line, reason: "the file is not YAML: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, _):
            let keys = duplicates.map { "\($0)" }.sorted().joined(separator: ", ")
            return .malformedFile(path: path, line: nil, reason: "set twice: \(keys); remove one of the two")
        default:
            return .malformedFile(path: path, line: nil, reason: "the file is not YAML")
        }
    }
}
