import ArgumentParser

/// Lets options that every command has stand anywhere: `roost -o json node list` as well as `roost node list -o json`.
enum ArgumentOrder {
    private static let flags: Set<String> = ["--no-headers", "--quiet", "-q", "--no-colors"]
    private static let valued: Set<String> = ["--output", "-o", "--profile"]

    /// Moves the common options in front of the verb to behind it; the parser then finds them where it looks.
    static func arrange(_ arguments: [String], root: any ParsableCommand.Type) -> [String] {
        let parts = Parts(arguments, root: root)
        return parts.path + parts.moved + parts.rest
    }

    /// What stands in front of the first word that is neither a common option nor a command.
    struct Parts {
        /// The command that the words in front name.
        var command: any ParsableCommand.Type
        var path: [String] = []
        var moved: [String] = []
        var rest: [String] = []

        init(_ arguments: [String], root: any ParsableCommand.Type) {
            command = root
            var rest = arguments[...]
            while let argument = rest.first {
                if flags.contains(argument) || isJoined(argument) {
                    moved.append(rest.removeFirst())
                } else if valued.contains(argument), rest.count > 1 {
                    moved += rest.prefix(2)
                    rest.removeFirst(2)
                } else if let next = command.configuration.subcommands.first(where: {
                    $0._commandName == argument || $0.configuration.aliases.contains(argument)
                }) {
                    command = next
                    path.append(rest.removeFirst())
                } else {
                    break
                }
            }
            self.rest = Array(rest)
        }
    }

    /// `--output=json`, `-ojson`.
    private static func isJoined(_ argument: String) -> Bool {
        if argument.hasPrefix("-o"), !argument.hasPrefix("--"), argument.count > 2 { return true }
        guard let equals = argument.firstIndex(of: "=") else { return false }
        return valued.contains(String(argument[..<equals])) && argument.hasPrefix("--")
    }
}
