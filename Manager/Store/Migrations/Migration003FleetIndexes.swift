extension Migration {
    /// What a large fleet asks often: the end of an image's chain.
    static let fleetIndexes = Migration(
        number: 3, name: "fleet indexes",
        statements: [
            """
            CREATE INDEX IF NOT EXISTS image_placements_asked ON image_placements (image_id, requested_at, node_id)
            """
        ])
}
