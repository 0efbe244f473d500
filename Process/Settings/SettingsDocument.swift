/// Documents made from a schema, so that they cannot drift from what is read.
extension SettingsSchema {
    /// An example file: every setting with its sentence, commented out at its default.
    public var exampleFile: String {
        var lines = [
            "## Configuration of \(program). Each setting is shown with its default; remove the single '#' to change it.",
            "## A flag (--set key=value) wins over the environment (ROOST_…), the environment over this file.",
            "", "## Where the daemon keeps what it must not lose (also: --data, ROOST_DATA).",
            "#data: \(defaultDataPath)",
        ]
        for (section, settings) in sections {
            lines += ["", "#\(section):"]
            for setting in settings {
                lines += wrapped(setting.summary + " Accepted: " + setting.accepted + ".", prefix: "  ## ")
                let name = setting.key.dropFirst(section.count + 1)
                lines.append("#  \(name): \(yaml(setting))")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// A Markdown table of all settings.
    public var table: String {
        var lines = ["| setting | environment | type | default | what |", "|---|---|---|---|---|"]
        for setting in settings {
            let fallback = setting.isSecret ? "" : setting.defaultText.isEmpty ? "(none)" : "`\(setting.defaultText)`"
            let what = "\(setting.summary) Accepted: \(setting.accepted).".replacing("|", with: "\\|")
            let variable = Self.environmentName(of: setting.key)
            lines.append("| `\(setting.key)` | `\(variable)` | \(setting.typeName) | \(fallback) | \(what) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private var sections: [(String, [DeclaredSetting])] {
        var order: [String] = []
        var groups: [String: [DeclaredSetting]] = [:]
        for setting in settings {
            let section = setting.key.split(separator: ".").dropLast().joined(separator: ".")
            if groups[section] == nil { order.append(section) }
            groups[section, default: []].append(setting)
        }
        return order.map { ($0, groups[$0] ?? []) }
    }

    private func yaml(_ setting: DeclaredSetting) -> String {
        if setting.isSecret { return "\"\"" }
        if setting.typeName == "list" {
            return "[" + setting.defaultText.split(separator: ",").joined(separator: ", ") + "]"
        }
        let isPlain =
            !setting.defaultText.isEmpty
            && setting.defaultText.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-".contains($0)) }
        return isPlain ? setting.defaultText : "\"\(setting.defaultText)\""
    }

    private func wrapped(_ text: String, prefix: String) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            if lines[lines.count - 1].count + word.count > 100 { lines.append("") }
            lines[lines.count - 1] += (lines[lines.count - 1].isEmpty ? "" : " ") + word
        }
        return lines.map { prefix + $0 }
    }
}
