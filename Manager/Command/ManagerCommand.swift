import ArgumentParser

struct ManagerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manager", abstract: "The managers of the site (superusers).", subcommands: [List.self])

    struct List: Listing {
        static let configuration = CommandConfiguration(
            abstract: "Lists the managers: who leads, and which are alive.")
        static let collection = "managers"
        static let columns = [
            Column("name"), Column("role"), Column("status", colour: Colour.status), Column("api_address", "API"),
            Column("agent_address", "AGENTS"), Column("version"), Column("started_at", "STARTED"), Column.id,
        ]
        @OptionGroup var list: ListOptions
        @OptionGroup var site: SiteOptions
    }
}
