/// All items of a list, fetched page by page as they are asked for.
public struct Listing<Item: Sendable>: AsyncSequence, Sendable {
    /// What is listed.
    public typealias Element = Item
    /// ``ClientError``, or `CancellationError`.
    public typealias Failure = any Error

    /// The same list, a page at a time.
    public let pages: Pages

    init(
        _ client: RoostClient, _ path: String, _ query: ListQuery,
        decode: @escaping @Sendable (Answer) throws -> Page<Item>
    ) {
        pages = Pages(client: client, path: path, query: query, decode: decode)
    }

    /// The whole list in memory.
    public func all() async throws -> [Item] {
        var items: [Item] = []
        for try await page in pages { items += page.items }
        return items
    }

    /// Begins at the first item.
    public func makeAsyncIterator() -> Iterator { Iterator(pages: pages.makeAsyncIterator()) }

    /// One reader's place in the list.
    public struct Iterator: AsyncIteratorProtocol {
        private var pages: Pages.Iterator
        private var items: ArraySlice<Item> = []

        init(pages: Pages.Iterator) { self.pages = pages }

        /// Fetches the next page where the last one is read.
        public mutating func next() async throws -> Item? {
            while true {
                if let item = items.popFirst() { return item }
                guard let page = try await pages.next() else { return nil }
                items = page.items[...]
            }
        }
    }

    /// The pages of a list.
    public struct Pages: AsyncSequence, Sendable {
        /// A part of the list.
        public typealias Element = Page<Item>
        /// ``ClientError``, or `CancellationError`.
        public typealias Failure = any Error

        let client: RoostClient
        let path: String
        let query: ListQuery
        let decode: @Sendable (Answer) throws -> Page<Item>

        /// Begins at the first page.
        public func makeAsyncIterator() -> Iterator { Iterator(pages: self, cursor: query.after) }

        /// One reader's place in the list.
        public struct Iterator: AsyncIteratorProtocol {
            let pages: Pages
            private var cursor: String?
            private var hasEnded = false

            init(pages: Pages, cursor: String?) {
                self.pages = pages
                self.cursor = cursor
            }

            /// Fetches it.
            public mutating func next() async throws -> Page<Item>? {
                guard !hasEnded else { return nil }
                let answer = try await pages.client.send(
                    Request(.get, pages.path + pages.query.text(after: cursor)))
                let page = try pages.decode(answer)
                // A cursor that does not move would keep us here for ever.
                hasEnded = page.next == nil || page.next == cursor
                cursor = page.next
                return page
            }
        }
    }
}

/// A part of a list.
public struct Page<Item: Sendable>: Sendable {
    /// In the list's order.
    public var items: [Item]
    /// Where the next page begins; `nil` on the last.
    public var next: String?
    /// All of it: some lists carry more than their items.
    public var document: JSON
}

/// Which items of a list, in which order.
public struct ListQuery: Sendable, ExpressibleByDictionaryLiteral {
    /// Parameters of the route, such as `status`.
    public var parameters: [(name: String, value: String?)]
    /// Members to sort by; `-` in front turns the order round.
    public var sort: [String] = []
    /// Items of a page, up to 1000; `nil` for lists that the API gives as a whole.
    public var pageSize: Int? = 1000
    /// Begin after this cursor.
    public var after: String?

    /// - Parameter parameters: those without a value are left out.
    public init(_ parameters: KeyValuePairs<String, String?> = [:], after: String? = nil) {
        self.parameters = parameters.map { ($0.key, $0.value) }
        self.after = after
    }

    /// Parameters alone.
    public init(dictionaryLiteral elements: (String, String?)...) {
        parameters = elements.map { ($0.0, $0.1) }
    }

    func text(after cursor: String?) -> String {
        let order = sort.isEmpty ? nil : sort.joined(separator: ",")
        return Address.query(
            parameters + [("sort", order), ("limit", pageSize.map { String($0) }), ("after", cursor)])
    }
}

extension RoostClient {
    /// The pages of any list, as JSON.
    public func pages(_ path: String, _ query: ListQuery = [:]) -> Listing<JSON>.Pages {
        Listing(self, path, query) { answer in
            let document = try answer.json()
            return Page(items: document["items"].items, next: document["next"].text, document: document)
        }.pages
    }
}
