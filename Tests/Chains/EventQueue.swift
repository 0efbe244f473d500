/// What is to happen, by time; of one time in the order in which it was asked for.
struct EventQueue {
    private struct Entry {
        var time: Duration
        var number: Int
        var body: () -> Void
        func precedes(_ other: Entry) -> Bool {
            time != other.time ? time < other.time : number < other.number
        }
    }

    private var heap: [Entry] = []
    private var count = 0

    mutating func add(_ time: Duration, _ body: @escaping () -> Void) {
        count += 1
        heap.append(Entry(time: time, number: count, body: body))
        var child = heap.count - 1
        while child > 0, heap[child].precedes(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func next() -> (Duration, () -> Void)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return (first.time, first.body) }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].precedes(heap[least])
            {
                least = child
            }
            guard least != parent else { return (first.time, first.body) }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
