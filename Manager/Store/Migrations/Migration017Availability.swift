extension Migration {
    /// When nodes may be used, and who said so.
    static let availability = Migration(
        number: 17, name: "availability",
        statements: [
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS hold TEXT",
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS availability TEXT",
        ])
}
