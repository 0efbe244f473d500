import ArgumentParser

/// A word where a command should be, that is none: said with the one that was meant, which the parser does not do.
struct UnknownCommand: Equatable {
    /// The command in front of it.
    var path: [String]
    var word: String
    var suggestion: String?

    /// Words of other programs for what ours call otherwise.
    private static let synonyms: [String: String] = [
        "ls": "list", "get": "show", "describe": "show", "info": "show", "rm": "delete", "del": "delete",
        "destroy": "delete", "remove": "delete", "new": "create", "add": "create", "make": "create", "boot": "create",
        "edit": "change", "modify": "change", "restart": "reboot", "shutdown": "stop", "server": "instance",
        "vm": "instance", "project": "account", "tenant": "account", "host": "node", "keypair": "key",
        "signin": "login", "signout": "logout",
    ]

    init?(_ arguments: [String], root: any ParsableCommand.Type) {
        let parts = ArgumentOrder.Parts(arguments, root: root)
        let below = parts.command.configuration.subcommands
        guard !below.isEmpty, let word = parts.rest.first, !word.hasPrefix("-"), word != "help" else { return nil }
        path = [root._commandName] + parts.path
        self.word = word
        let names = below.flatMap { [$0._commandName] + $0.configuration.aliases }
        let synonym = Self.synonyms[word.lowercased()].flatMap { names.contains($0) ? $0 : nil }
        suggestion = synonym ?? Nearness.nearest(to: word, among: names)
    }

    var failure: Failure {
        let command = path.joined(separator: " ")
        let meant = suggestion.map { "; did you mean '\(command) \($0)'?" } ?? ""
        return Failure(
            lines: [
                "error: '\(command)' has no command '\(word.printable)'\(meant)", "  see '\(command) --help'",
            ], kind: .usage)
    }
}
