import Foundation

/// One kind of resource: its JSON as a value, and where it is.
public protocol Resource: Codable, Sendable {
    /// Its path under `/v1/`.
    static var collection: String { get }
}

/// A resource that can be made.
public protocol CreatableResource: Resource {
    /// What one says to make it.
    associatedtype Creation: Encodable & Sendable
}

/// A resource that can be changed (RFC 7396: members that are left out stay as they are).
public protocol ChangeableResource: Resource {
    associatedtype Change: Encodable & Sendable
}

/// A resource, and the entity tag with which to change just what was seen.
public struct Tagged<Value: Sendable>: Sendable {
    /// As it was seen.
    public var value: Value
    /// Of that moment.
    public var tag: String?
}

/// A member of a change: left as it is, set, or taken away.
public enum Patch<Value: Encodable & Sendable>: Encodable, Sendable {
    case keep
    case set(Value)
    /// Sent as `null`.
    case remove

    /// `null` for what is removed; whether it is sent at all, its container decides.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .keep, .remove: try container.encodeNil()
        case .set(let value): try container.encode(value)
        }
    }
}

extension KeyedEncodingContainer {
    /// Synthesised code calls this one for members that are patches, so that `keep` leaves them out.
    mutating func encode<Value>(_ patch: Patch<Value>, forKey key: Key) throws {
        switch patch {
        case .keep: break
        case .set(let value): try encode(value, forKey: key)
        case .remove: try encodeNil(forKey: key)
        }
    }
}

/// The resources of a kind.
public struct Resources<Item: Resource>: Sendable {
    let client: RoostClient

    /// All that the caller may see, page by page.
    public func list(_ query: ListQuery = [:]) -> Listing<Item> {
        Listing(client, "/v1/\(Item.collection)", query) { try Coding.page($0) }
    }

    /// One, by name or ID.
    public func show(_ reference: String) async throws -> Item { try await tagged(reference).value }

    /// One, with its entity tag.
    public func tagged(_ reference: String) async throws -> Tagged<Item> {
        let answer = try await client.send(Request(.get, try Address.path(Item.collection, reference)))
        return Tagged(value: try Coding.decode(answer), tag: answer.tag)
    }

    /// - Parameter tag: only if it is still as it was seen.
    public func delete(_ reference: String, ifMatch tag: String? = nil) async throws {
        _ = try await client.send(Request(.delete, try Address.path(Item.collection, reference), ifMatch: tag))
    }

    /// Something that is done to one of them, and that answers with it.
    func act<Body: Encodable>(_ reference: String, _ verb: String, _ body: Body) async throws -> Item {
        let request = Request(
            .post, try Address.path(Item.collection, reference, verb), body: try Coding.encode(body))
        return try Coding.decode(try await client.send(request))
    }
}

extension Resources where Item: CreatableResource {
    /// Makes one.
    ///
    /// - Parameter idempotencyKey: with the same key the manager makes it once, however often it is asked within 24 hours.
    public func create(_ creation: Item.Creation, idempotencyKey: String? = nil) async throws -> Item {
        let request = Request(
            .post, "/v1/\(Item.collection)", body: try Coding.encode(creation), idempotencyKey: idempotencyKey)
        return try Coding.decode(try await client.send(request))
    }
}

extension Resources where Item: ChangeableResource {
    /// - Parameter tag: only if it is still as it was seen.
    public func change(_ reference: String, _ change: Item.Change, ifMatch tag: String? = nil) async throws -> Item {
        let request = Request(
            .patch, try Address.path(Item.collection, reference), body: try Coding.encode(change), ifMatch: tag)
        return try Coding.decode(try await client.send(request))
    }
}

/// Between JSON and values. Dates are RFC 3339 with milliseconds, as the API writes them.
enum Coding {
    static func decode<Value: Decodable>(_ answer: Answer) throws(ClientError) -> Value { try decode(answer.bytes) }

    static func decode<Value: Decodable>(_ bytes: [UInt8]) throws(ClientError) -> Value {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .custom { decoder in
            let text = try decoder.singleValueContainer().decode(String.self)
            guard let date = date(text) else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: "'\(text)' is not a time"))
            }
            return date
        }
        do {
            return try decoder.decode(Value.self, from: Data(bytes))
        } catch {
            throw .malformed("the manager's answer is not a \(Value.self): \(reason(error))")
        }
    }

    private struct Members<Item: Decodable>: Decodable {
        var items: [Item]
        var next: String?
    }

    static func page<Item: Decodable>(_ answer: Answer) throws(ClientError) -> Page<Item> {
        let members: Members<Item> = try decode(answer)
        return Page(items: members.items, next: members.next, document: try answer.json())
    }

    static func encode<Value: Encodable>(_ value: Value) throws(ClientError) -> JSON {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(date.formatted(format))
        }
        do {
            return try JSONReader.read(Array(try encoder.encode(value)))
        } catch let error as ClientError {
            throw error
        } catch {
            throw .invalid("this cannot be sent as JSON: \(reason(error))")
        }
    }

    private static let format = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    static func date(_ text: String) -> Date? {
        (try? format.parse(text)) ?? (try? Date.ISO8601FormatStyle().parse(text))
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case DecodingError.keyNotFound(let key, _): "'\(key.stringValue)' is missing"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
            DecodingError.dataCorrupted(let context):
            "at '\(context.codingPath.map(\.stringValue).joined(separator: "."))': \(context.debugDescription)"
        default: "\(error)"
        }
    }
}
