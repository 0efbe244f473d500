import Crypto
import Foundation
import Glibc
public import ProcessFiles
public import ProtocolModel

/// Why the cache could not do something.
public enum ImageCacheError: FileFailure, Equatable, Sendable, CustomStringConvertible {
    case diskFull(path: String)
    case file(path: String, reason: String)
    /// The budget, or the free space that is to be left for others, does not allow for the image.
    case noRoom(neededBytes: Int64, missingBytes: Int64, heldBack: Int)
    case removed

    public var description: String {
        switch self {
        case .diskFull(let path): "the disk that holds \(path) is full; free space in the image cache of this host"
        case .file(let path, let reason): "\(path): \(reason)"
        case .noRoom(let needed, let missing, let heldBack):
            "the image cache of this host has no room: \(Self.mebibytes(needed)) MiB are needed, \(Self.mebibytes(missing)) "
                + "MiB too many, and \(heldBack) images are pinned or in use; unpin or delete some, or raise "
                + "images.cache_budget_gib, or free disk space; it goes on by itself then"
        case .removed: "the image was removed from the cache"
        }
    }

    private static func mebibytes(_ bytes: Int64) -> Int64 { (bytes + 1_048_575) >> 20 }
}

/// Where an image lies in the cache: `_base/<sha1>`, the name that sites know (HLT-41).
public struct ImageFiles: Hashable, Sendable {
    /// The finished raw image.
    public let raw: String
    /// The raw image while it is received.
    var partial: String { raw + ".partial" }
    var manifest: String { raw + ".manifest" }
    /// Which chunks of the partial file are verified and on the disk; beside a finished one, that some are to come anew.
    var bitmap: String { raw + ".bitmap" }
    var facts: String { raw + ".facts" }
    /// Says that the image was evicted, and is not to be fetched before it is wanted anew.
    var evicted: String { raw + ".evicted" }

    /// The manifest last: without the others it makes the next life of the agent begin anew.
    var all: [String] {
        let replaced = [bitmap, facts, evicted, manifest]
        return [raw, partial] + replaced.map { $0 + ".new" } + replaced
    }

    public init(cache: String, image: ImageID) {
        raw = Self.folder(cache) + "/" + Self.name(of: image)
    }

    static func folder(_ cache: String) -> String { cache + "/_base" }

    /// SHA-1 of the identifier's text in lower case, as the convention wants it. SHA-1 is no protection here: contents
    /// are verified by the manifest's SHA-256.
    public static func name(of image: ImageID) -> String {
        Insecure.SHA1.hash(data: Data("\(image)".utf8)).hexadecimal
    }
}
