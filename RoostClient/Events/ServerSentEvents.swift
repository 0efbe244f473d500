/// Takes a server-sent event stream apart (WHATWG HTML §9.2.6). Bytes in, events out; it knows no connection.
struct ServerSentEvents {
    struct Event: Equatable {
        var id: String
        var data: String
    }

    /// Longer than any event of the API: a stream without line ends must not fill the memory.
    static let maximumLine = 4 << 20

    /// Where to go on after the connection broke: of the last event, or of the last block that had an ID and no event.
    private(set) var lastID = ""
    /// Of the block that has not ended yet.
    private var nextID = ""
    private var line: [UInt8] = []
    private var data: [String] = []
    private var endedWithReturn = false

    mutating func feed(_ bytes: some Sequence<UInt8>) throws(ClientError) -> [Event] {
        var events: [Event] = []
        for byte in bytes {
            // "\r\n" is one line end, also where a chunk ends between the two.
            let isSecondHalf = endedWithReturn && byte == UInt8(ascii: "\n")
            endedWithReturn = byte == UInt8(ascii: "\r")
            if isSecondHalf { continue }
            guard byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") else {
                guard line.count < Self.maximumLine else {
                    throw ClientError.malformed("the event stream has a line without an end")
                }
                line.append(byte)
                continue
            }
            if let event = endLine() { events.append(event) }
        }
        return events
    }

    private mutating func endLine() -> Event? {
        defer { line.removeAll(keepingCapacity: true) }
        guard !line.isEmpty else {
            defer { data = [] }
            lastID = nextID
            return data.isEmpty ? nil : Event(id: lastID, data: data.joined(separator: "\n"))
        }
        let text = String(decoding: line, as: UTF8.self)
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        var value = parts.count > 1 ? parts[1] : ""
        if value.hasPrefix(" ") { value.removeFirst() }
        switch parts[0] {
        case "data": data.append(String(value))
        case "id": nextID = String(value)
        default: break
        }
        return nil
    }
}
