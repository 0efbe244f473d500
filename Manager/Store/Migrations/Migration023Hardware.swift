extension Migration {
    /// Where a guest's hardware is other than ordinary, as its image and flavor said when it was created.
    static let hardware = Migration(
        number: 23, name: "hardware",
        statements: ["ALTER TABLE instances ADD COLUMN IF NOT EXISTS hardware TEXT"])
}
