extension Migration {
    /// Where a guest's hardware is other than ordinary, as its image and flavor said when it was created; processors that guests
    /// may have alone, and who has which of them and of the memory of NUMA nodes: told with the instance and once more with its
    /// node, whose row is read in each placement anyway.
    static let hardware = Migration(
        number: 23, name: "hardware",
        statements: [
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS hardware TEXT",
            "ALTER TABLE instances ADD COLUMN IF NOT EXISTS place TEXT",
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS dedicated_cpus TEXT",
            "ALTER TABLE nodes ADD COLUMN IF NOT EXISTS places TEXT",
        ])
}
