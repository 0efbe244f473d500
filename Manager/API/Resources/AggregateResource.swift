import ManagerModel
import ManagerStore

/// Groups of nodes as a superuser sees them.
enum AggregateResource {
    static let schema = ObjectSchema.answer(
        "Aggregate",
        [
            ("id", .identifier), ("name", .text), ("metadata", .map(.text, maximum: 1000)),
            ("nodes", .array(.text, maximum: 100_000)), ("created_at", .time), ("updated_at", .time),
        ])

    static func encode(_ aggregate: Aggregate, in transaction: Transaction) throws -> JSONValue {
        [
            "id": .text(aggregate.id), "name": .string(aggregate.name), "metadata": .map(aggregate.metadata),
            "nodes": .texts(try transaction.aggregates.nodeNames(in: aggregate.id)),
            "created_at": .text(aggregate.createdAt), "updated_at": .text(aggregate.updatedAt),
        ]
    }
}
