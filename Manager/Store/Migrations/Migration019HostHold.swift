extension Migration {
    /// That a host was taken back by its own operator.
    static let hostHold = Migration(
        number: 19, name: "host hold", statements: ["ALTER TABLE nodes ADD COLUMN IF NOT EXISTS host_hold TEXT"])
}
