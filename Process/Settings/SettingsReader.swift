import Configuration

/// What the command line says about settings.
public struct SettingsFlags: Sendable, Equatable {
    /// `--config`
    public var configuration: String?
    /// `--data`
    public var data: String?
    /// Each `--set key=value`, as written.
    public var assignments: [String]

    public init(configuration: String? = nil, data: String? = nil, assignments: [String] = []) {
        self.configuration = configuration
        self.data = data
        self.assignments = assignments
    }
}

/// Resolves the settings of a daemon: a flag wins over the environment, the environment over the file, the file over
/// the default. Everything is checked when the reader is made, so that a daemon starts with a sound configuration or
/// not at all.
public struct SettingsReader: Sendable {
    public let schema: SettingsSchema
    /// The configuration file that was named or is the default; it may not exist where it is the default.
    public let configurationPath: String
    /// The folder for everything that the daemon keeps.
    public let dataPath: String
    /// Environment variables that look like settings but are none. Not errors: the environment is shared with other
    /// programs.
    public let warnings: [String]
    private let reader: ConfigReader

    /// - Throws: `SettingsError` for the first fault found.
    public init(schema: SettingsSchema, flags: SettingsFlags, environment: [String: String]) throws(SettingsError) {
        self.schema = schema
        let named = flags.configuration ?? environment["ROOST_CONFIG"]
        configurationPath = named ?? schema.defaultConfigurationPath
        let file = try ConfigurationFile.read(path: configurationPath, mustExist: named != nil)

        var fromFile: [AbsoluteConfigKey: ConfigValue] = [:]
        var dataInFile: String?
        for (key, entry) in (file?.entries ?? [:]).sorted(by: { $0.value.line < $1.value.line }) {
            let origin = SettingsError.Origin.file(path: configurationPath, line: entry.line)
            if key == "data" {
                try Self.check(Self.dataSetting(schema), entry.text, origin)
                dataInFile = entry.text
                continue
            }
            let setting = try Self.declared(key, in: schema, origin)
            try Self.check(setting, entry.text, origin)
            fromFile[Self.key(key)] = ConfigValue(.string(entry.text), isSecret: setting.isSecret)
        }
        for setting in schema.settings {
            let variable = SettingsSchema.environmentName(of: setting.key)
            guard let text = environment[variable] else { continue }
            try Self.check(setting, text, .environment(variable: variable))
        }
        let fromFlags = try Self.assignments(flags.assignments, schema: schema)
        dataPath = flags.data ?? environment["ROOST_DATA"] ?? dataInFile ?? schema.defaultDataPath
        try Self.check(
            Self.dataSetting(schema), dataPath, flags.data != nil ? .flag : .environment(variable: "ROOST_DATA"))

        warnings = Self.strangers(in: environment, schema: schema)
        let secrets = Set(schema.settings.filter(\.isSecret).map { SettingsSchema.environmentName(of: $0.key) })
        reader = ConfigReader(providers: [
            InMemoryProvider(name: "flags", values: fromFlags),
            EnvironmentVariablesProvider(environmentVariables: environment, secretsSpecifier: .specific(secrets))
                .prefixKeys(with: "roost"),
            InMemoryProvider(name: "file", values: fromFile),
        ])
    }

    /// The value of a setting of this reader's schema.
    public func value<Value: Sendable>(_ setting: Setting<Value>) -> Value {
        precondition(schema.setting(setting.key) != nil, "\(setting.key) is not declared in the schema")
        guard let text = reader.string(forKey: ConfigKey(setting.key), isSecret: setting.isSecret) else {
            return setting.fallback
        }
        // Every value was parsed once by `init`.
        return setting.kind.parse(text) ?? setting.fallback
    }

    /// Every setting and its value in force, secrets masked, for a log line at start.
    public var summary: [(key: String, value: String)] {
        schema.settings.map { setting in
            let text = reader.string(forKey: ConfigKey(setting.key), isSecret: setting.isSecret)
            return (setting.key, setting.isSecret ? "(secret)" : text ?? setting.defaultText)
        }
    }
}

extension SettingsReader {
    /// Variables of the `roost` command and of the two flags, and a secret that no flag or file may hold; they are no
    /// settings.
    private static let otherVariables: Set<String> = [
        "ROOST_CONFIG", "ROOST_DATA", "ROOST_ENDPOINT", "ROOST_TOKEN", "ROOST_CACERT", "ROOST_PROFILE",
        "ROOST_STORE_PASSWORD",
    ]

    private static func key(_ key: String) -> AbsoluteConfigKey { AbsoluteConfigKey(ConfigKey(key)) }

    private static func dataSetting(_ schema: SettingsSchema) -> DeclaredSetting {
        Setting("data", .path, default: schema.defaultDataPath, "Where the daemon keeps what it must not lose.")
            .declared
    }

    private static func declared(
        _ key: String, in schema: SettingsSchema, _ origin: SettingsError.Origin
    ) throws(SettingsError) -> DeclaredSetting {
        guard let setting = schema.setting(key) else {
            throw .unknownKey(key: key, origin: origin, suggestion: schema.nearestKey(to: key))
        }
        return setting
    }

    private static func check(
        _ setting: DeclaredSetting, _ text: String, _ origin: SettingsError.Origin
    ) throws(SettingsError) {
        guard !setting.accepts(text) else { return }
        throw .badValue(
            key: setting.key, origin: origin, found: setting.isSecret ? "not acceptable" : quoted(text),
            accepted: setting.accepted,
            suggestion: setting.isSecret ? nil : NearMiss.nearest(to: text, among: setting.words))
    }

    private static func assignments(
        _ assignments: [String], schema: SettingsSchema
    ) throws(SettingsError) -> [AbsoluteConfigKey: ConfigValue] {
        var values: [AbsoluteConfigKey: ConfigValue] = [:]
        for assignment in assignments {
            guard let separator = assignment.firstIndex(of: "="), separator != assignment.startIndex else {
                // The text may hold a secret where somebody forgot the key; only its beginning up to '=' is shown.
                throw .malformedFlag(String(assignment.prefix { $0 != "=" }.prefix(16)))
            }
            let name = String(assignment[..<separator])
            let text = String(assignment[assignment.index(after: separator)...])
            let setting = try declared(name, in: schema, .flag)
            try check(setting, text, .flag)
            let value = ConfigValue(.string(text), isSecret: setting.isSecret)
            guard values.updateValue(value, forKey: key(name)) == nil else {
                throw .repeatedKey(key: name, origin: .flag)
            }
        }
        return values
    }

    private static func strangers(in environment: [String: String], schema: SettingsSchema) -> [String] {
        let known = Set(schema.settings.map { SettingsSchema.environmentName(of: $0.key) }).union(otherVariables)
        return environment.keys.filter { $0.hasPrefix("ROOST_") && !known.contains($0) }.sorted().map { variable in
            let suggestion = NearMiss.nearest(to: variable, among: known.sorted())
            return "the environment variable \(quoted(variable)) is not a setting of \(schema.program)"
                + (suggestion.map { "; did you mean \($0)?" } ?? "")
        }
    }
}
