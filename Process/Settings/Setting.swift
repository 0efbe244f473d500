/// One thing that an operator can set: declared once, and read, checked and documented from that declaration.
public struct Setting<Value: Sendable>: Sendable {
    /// Lower-case words joined by dots, such as `api.port`.
    public let key: String
    /// One sentence for the example file and the table.
    public let summary: String
    public let fallback: Value
    /// A secret's value never appears in an error, a log or a document.
    public let isSecret: Bool
    public let kind: ValueKind<Value>

    public init(
        _ key: String, _ kind: ValueKind<Value>, default fallback: Value, secret isSecret: Bool = false,
        _ summary: String
    ) {
        self.key = key
        self.kind = kind
        self.fallback = fallback
        self.isSecret = isSecret
        self.summary = summary
    }

    /// `ROOST_API_PORT` for `api.port`.
    public var environmentName: String { SettingsSchema.environmentName(of: key) }

    /// The declaration without its type, to stand in a list.
    public var declared: DeclaredSetting {
        let kind = kind
        return DeclaredSetting(
            key: key, summary: summary, typeName: kind.name, accepted: kind.accepted,
            defaultText: kind.render(fallback), isSecret: isSecret, words: kind.words,
            accepts: { kind.parse($0) != nil })
    }
}

/// A setting's declaration without its type.
public struct DeclaredSetting: Sendable {
    public let key: String
    public let summary: String
    public let typeName: String
    public let accepted: String
    public let defaultText: String
    public let isSecret: Bool
    let words: [String]
    let accepts: @Sendable (String) -> Bool
}

/// Everything that one daemon lets an operator set.
public struct SettingsSchema: Sendable {
    /// The program, as it is called: `roost-manager`.
    public let program: String
    public let defaultConfigurationPath: String
    public let defaultDataPath: String
    public let settings: [DeclaredSetting]

    public init(
        program: String, defaultConfigurationPath: String, defaultDataPath: String, _ settings: [DeclaredSetting]
    ) {
        self.program = program
        self.defaultConfigurationPath = defaultConfigurationPath
        self.defaultDataPath = defaultDataPath
        self.settings = settings
        precondition(Set(settings.map(\.key)).count == settings.count, "a setting is declared twice")
        precondition(
            Set(settings.map { Self.environmentName(of: $0.key) }).count == settings.count,
            "two settings share an environment variable")
    }

    static func environmentName(of key: String) -> String {
        "ROOST_" + key.uppercased().map { $0.isLetter || $0.isNumber ? String($0) : "_" }.joined()
    }

    func setting(_ key: String) -> DeclaredSetting? {
        settings.first { $0.key == key }
    }

    /// The declared key that somebody who wrote `key` most likely meant.
    func nearestKey(to key: String) -> String? {
        NearMiss.nearest(to: key, among: settings.map(\.key))
    }
}
