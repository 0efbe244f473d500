import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// How one kind of resource is listed, declared once: by what it may be sorted, filtered and cut down. Query, document and SQL
/// follow from it.
struct Listing<Item: Sendable>: Sendable {
    struct Key: Sendable {
        let name: String
        /// A column that is never null.
        let column: String
        let value: @Sendable (Item) -> ColumnValue

        init(_ name: String, column: String? = nil, _ value: @escaping @Sendable (Item) -> ColumnValue) {
            self.name = name
            self.column = column ?? name
            self.value = value
        }
    }

    struct Filter: Sendable {
        let parameter: QueryParameter
        let column: String
        /// What the column holds for what was asked; looks names up.
        let value: @Sendable (JSONValue, Commands) throws -> ColumnValue
        /// What an item has of it, for lists that no table holds.
        let held: (@Sendable (Item) -> ColumnValue)?

        init(
            _ name: String, _ schema: Schema, _ summary: String, column: String? = nil,
            value: @escaping @Sendable (JSONValue, Commands) throws -> ColumnValue = { value, _ in Self.plain(value) }
        ) {
            parameter = QueryParameter(name, schema, summary)
            self.column = column ?? name
            self.value = value
            held = nil
        }

        init(_ name: String, _ schema: Schema, _ summary: String, held: @escaping @Sendable (Item) -> ColumnValue) {
            parameter = QueryParameter(name, schema, summary)
            column = name
            value = { value, _ in Self.plain(value) }
            self.held = held
        }

        static func plain(_ value: JSONValue) -> ColumnValue {
            switch value {
            case .boolean(let flag): .number(flag ? 1 : 0)
            case .integer(let number): .number(number)
            default: .text(value.string ?? "")
            }
        }
    }

    /// Such as `flavors`.
    let name: String
    let schema: ObjectSchema
    let identifier: @Sendable (Item) -> String
    let keys: [Key]
    let filters: [Filter]
    /// The order where none is asked for, which is that of the identifiers.
    let usualOrder: String

    init(
        _ name: String, _ schema: ObjectSchema, identifier: @escaping @Sendable (Item) -> String, sort keys: [Key],
        filters: [Filter] = [], usualOrder: String = "By age"
    ) {
        self.name = name
        self.schema = schema
        self.identifier = identifier
        self.keys = keys
        self.filters = filters
        self.usualOrder = usualOrder
    }

    /// What its route takes.
    var query: [QueryParameter] {
        QueryParameter.page + [
            ListWords.sort(keys.map(\.name), usually: usualOrder), ListWords.fields(schema.fields.map(\.name)),
        ]
            + filters.map(\.parameter)
    }

    func request(_ call: Call) throws(Refusal) -> ListRequest<Item> { try ListRequest(self, call.query) }
}

/// A page of a list, as asked for.
struct ListRequest<Item: Sendable>: Sendable {
    private let listing: Listing<Item>
    private let query: Query
    private let limit: Int
    private let sort: String
    private let keys: [(key: Listing<Item>.Key, isDescending: Bool)]
    private let after: (identifier: String, values: [ColumnValue])?
    private let fields: Set<String>?

    init(_ listing: Listing<Item>, _ query: Query) throws(Refusal) {
        self.listing = listing
        self.query = query
        limit = query.integer("limit") ?? ListWords.usualLimit
        var named: Set<Substring> = []
        // A key that was named already decides nothing more, and would make the 'next' of a page too long.
        let words = ListWords.split(query.string("sort") ?? "").filter { named.insert(ListWords.key($0)).inserted }
        sort = words.joined(separator: ",")
        keys = words.compactMap { word in
            let name = ListWords.key(word)
            return listing.keys.first { $0.name == name }.map { ($0, word.hasPrefix("-")) }
        }
        fields = query.string("fields").map { Set(ListWords.split($0).map(String.init)) }
        if let text = query.string("after") {
            after = try Self.place(try Cursor(text, list: listing.name).place, sort: sort, count: keys.count)
        } else {
            after = nil
        }
    }

    /// One more than asked for, which tells whether there is a next page.
    func page(_ commands: Commands) throws -> Page {
        var page = Page(limit: limit + 1, after: after?.identifier)
        page.afterValues = after?.values ?? []
        page.order = ListOrder(keys.map { ListOrder.Key(column: $0.key.column, isDescending: $0.isDescending) })
        for filter in listing.filters {
            guard let value = query[filter.parameter.name] else { continue }
            page.filters.append(ListFilter(column: filter.column, value: try filter.value(value, commands)))
        }
        return page
    }

    /// The page of a list that is in memory; one more than asked for, too.
    func page(of items: [Item]) -> [Item] {
        let wanted = listing.filters.compactMap { filter in
            query[filter.parameter.name].map { (filter.held, Listing<Item>.Filter.plain($0)) }
        }
        let fitting = items.filter { item in wanted.allSatisfy { held, value in held?(item) == value } }
        let sorted = fitting.map { (item: $0, place: rank(of: $0)) }.sorted { precedes($0.place, $1.place) }
        let rest = after.map { end in sorted.drop { !precedes(end.values + [.text(end.identifier)], $0.place) } }
        return (rest ?? sorted[...]).prefix(limit + 1).map(\.item)
    }

    private func rank(of item: Item) -> [ColumnValue] {
        keys.map { $0.key.value(item) } + [.text(listing.identifier(item))]
    }

    private func precedes(_ one: [ColumnValue], _ other: [ColumnValue]) -> Bool {
        let directions = keys.map(\.isDescending) + [false]
        for ((left, right), isDescending) in zip(zip(one, other), directions) where left != right {
            return isDescending ? right < left : left < right
        }
        return false
    }

    /// - Parameter more: members beside `items` and `next`.
    func document(
        _ items: [Item], with more: [JSONValue.Member] = [], encode: (Item) throws -> JSONValue
    ) rethrows -> Answer {
        let shown = items.prefix(limit)
        let next = items.count > limit ? shown.last.map { Cursor(list: listing.name, place: place(of: $0)).text } : nil
        let documents = try shown.map { ListWords.cut(try encode($0), to: fields) }
        return .document(.object([.init("items", .array(documents)), .init("next", .text(next))] + more))
    }

    // MARK: Places

    private func place(of item: Item) -> String {
        let identifier = listing.identifier(item)
        guard !keys.isEmpty else { return identifier }
        let values: [JSONValue] = keys.map { key, _ in
            switch key.value(item) {
            case .text(let text): .string(text)
            case .number(let number): .integer(number)
            }
        }
        return String(decoding: JSONValue.array([.string(sort)] + values + [.string(identifier)]).bytes, as: UTF8.self)
    }

    private static func place(
        _ text: String, sort: String, count: Int
    ) throws(Refusal) -> (identifier: String, values: [ColumnValue]) {
        guard count > 0 else {
            guard !text.hasPrefix("[") else { throw otherSort }
            return (text, [])
        }
        guard let parts = (try? JSONParser.parse(Array(text.utf8)))?.array, parts.count == count + 2,
            parts[0].string == sort, let identifier = parts[count + 1].string
        else { throw otherSort }
        return (identifier, parts[1...count].map { $0.integer.map(ColumnValue.number) ?? .text($0.string ?? "") })
    }

    private static var otherSort: Refusal {
        Refusal(
            .unprocessable,
            "'after' comes from a list that was sorted otherwise; keep 'sort' as it was, or begin again",
            fields: [Refusal.Field(pointer: "?after", detail: "must be the 'next' of a page with the same 'sort'")])
    }
}

/// What the queries of lists have in common.
enum ListWords {
    static let usualLimit = 100

    /// The key that a word of `sort` names.
    static func key(_ word: Substring) -> Substring { word.hasPrefix("-") ? word.dropFirst() : word }

    static func split(_ text: String) -> [Substring] { text.split(separator: ",", omittingEmptySubsequences: false) }

    static func sort(_ names: [String], usually usualOrder: String) -> QueryParameter {
        QueryParameter(
            "sort", words(names, prefix: "-?"),
            "In which order: \(names.joined(separator: ", ")); the first decides, '-' turns one round. \(usualOrder) if not given. "
                + "Items whose key changes while you read, such as updated_at or status, can be skipped or come twice."
        )
    }

    static func fields(_ names: [String]) -> QueryParameter {
        QueryParameter("fields", words(names, prefix: ""), "Only these members of each item, such as id,name.")
    }

    private static func words(_ names: [String], prefix: String) -> Schema {
        let word = "\(prefix)(\(names.joined(separator: "|")))"
        let isSigned = !prefix.isEmpty
        return .string(
            TextRule(
                lengths: 1...1024, pattern: "^\(word)(,\(word))*$",
                wanted: "must be some of \(names.joined(separator: ", ")), separated by commas",
                allows: { text in
                    let plain = split(text).map { isSigned && $0.hasPrefix("-") ? $0.dropFirst() : $0 }.map(String.init)
                    return plain.allSatisfy(names.contains)
                }))
    }

    static func cut(_ value: JSONValue, to fields: Set<String>?) -> JSONValue {
        guard let fields, let members = value.members else { return value }
        return .object(members.filter { fields.contains($0.name) })
    }
}
