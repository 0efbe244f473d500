/// Writes a few small files as an ISO 9660 image (ECMA-119) with Joliet names: what a NoCloud seed is.
///
/// By hand, since each instance waits for its seed: `xorrisofs` takes a tenth of a second for it, most of which it sleeps.
/// All files lie in the root. The primary names are upper case as the standard wants them; guests see the Joliet ones.
struct SeedImage {
    struct File {
        /// Letters, digits, `-` and `_`, in ASCII.
        var name: String
        var content: [UInt8]
    }

    private static let sector = 2048
    /// Sectors of the fixed parts, in their order.
    private enum Place {
        static let primary = 16
        static let joliet = 17
        static let terminator = 18
        static let primaryPaths = (little: 19, big: 20)
        static let jolietPaths = (little: 21, big: 22)
        static let primaryRoot = 23
        static let jolietRoot = 24
        static let files = 25
    }
    /// A path table that holds the root alone.
    private static let pathTableBytes = 10

    private let label: String
    private let files: [(file: File, sector: Int)]
    private let sectors: Int

    /// - Parameters:
    ///   - label: the volume's name, at most 16 characters of ASCII.
    ///   - files: few enough for their names to fit into one sector.
    init(label: String, files: [File]) {
        self.label = label
        var next = Place.files
        var placed: [(File, Int)] = []
        // Records stand in the order of their names.
        for file in files.sorted(by: { $0.name < $1.name }) {
            placed.append((file, next))
            next += (file.content.count + Self.sector - 1) / Self.sector
        }
        self.files = placed
        sectors = next
    }

    /// The whole image.
    var bytes: [UInt8] {
        var image = [UInt8](repeating: 0, count: sectors * Self.sector)
        func put(_ content: [UInt8], at sector: Int) {
            image.replaceSubrange(sector * Self.sector..<sector * Self.sector + content.count, with: content)
        }
        put(descriptor(isJoliet: false), at: Place.primary)
        put(descriptor(isJoliet: true), at: Place.joliet)
        put([255] + Self.identifier, at: Place.terminator)
        for (places, root) in [
            (Place.primaryPaths, Place.primaryRoot), (Place.jolietPaths, Place.jolietRoot),
        ] {
            put(Self.pathTable(little(root, 4), little(1, 2)), at: places.little)
            put(Self.pathTable(big(root, 4), big(1, 2)), at: places.big)
        }
        put(root(isJoliet: false), at: Place.primaryRoot)
        put(root(isJoliet: true), at: Place.jolietRoot)
        for (file, sector) in files { put(file.content, at: sector) }
        return image
    }

    // MARK: Descriptors (ECMA-119 8.4, 8.5)

    private static let identifier = Array("CD001".utf8) + [1]

    private func descriptor(isJoliet: Bool) -> [UInt8] {
        func text(_ text: String, _ count: Int) -> [UInt8] {
            isJoliet
                ? Self.unicode(text.padding(to: count / 2)) + (count % 2 == 0 ? [] : [0])
                : Array(text.padding(to: count).utf8)
        }
        let paths = isJoliet ? Place.jolietPaths : Place.primaryPaths
        let rootSector = isJoliet ? Place.jolietRoot : Place.primaryRoot
        var bytes: [UInt8] = [isJoliet ? 2 : 1]
        bytes += Self.identifier
        bytes += [0]
        bytes += text("", 32)  // system
        bytes += text(label, 32)
        bytes += zeros(8)
        bytes += both(sectors, 4)
        // UCS-2 level 3, by which a reader knows Joliet.
        bytes += isJoliet ? Array("%/E".utf8) + zeros(29) : zeros(32)
        bytes += both(1, 2)  // volumes in the set
        bytes += both(1, 2)  // number of this one
        bytes += both(Self.sector, 2)
        bytes += both(Self.pathTableBytes, 4)
        bytes += little(paths.little, 4) + zeros(4)
        bytes += big(paths.big, 4) + zeros(4)
        bytes += record([0], sector: rootSector, count: Self.sector, isFolder: true)
        for _ in 0..<4 { bytes += text("", 128) }  // volume set, publisher, preparer, application
        for _ in 0..<3 { bytes += text("", 37) }  // copyright, abstract, bibliography
        for _ in 0..<4 { bytes += Array("0000000000000000".utf8) + [0] }  // dates: not given
        bytes += [1]
        return bytes
    }

    private static func pathTable(_ extent: [UInt8], _ parent: [UInt8]) -> [UInt8] {
        [1, 0] + extent + parent + [0, 0]
    }

    // MARK: Directory records (ECMA-119 9.1)

    private func root(isJoliet: Bool) -> [UInt8] {
        let sector = isJoliet ? Place.jolietRoot : Place.primaryRoot
        var bytes = record([0], sector: sector, count: Self.sector, isFolder: true)
        bytes += record([1], sector: sector, count: Self.sector, isFolder: true)
        for (file, sector) in files {
            let name = isJoliet ? Self.unicode(file.name) : Self.primaryName(file.name)
            bytes += record(name, sector: sector, count: file.content.count, isFolder: false)
        }
        return bytes
    }

    private func record(_ name: [UInt8], sector: Int, count: Int, isFolder: Bool) -> [UInt8] {
        let padding = name.count % 2 == 0 ? [UInt8(0)] : []
        var bytes: [UInt8] = [UInt8(33 + name.count + padding.count), 0]
        bytes += both(sector, 4)
        bytes += both(count, 4)
        bytes += [70, 1, 1, 0, 0, 0, 0]  // 1970: nobody asks a seed's age
        bytes += [isFolder ? 2 : 0, 0, 0]
        bytes += both(1, 2)
        bytes += [UInt8(name.count)]
        return bytes + name + padding
    }

    /// Capital letters, digits and `_`, then an empty extension and the version.
    private static func primaryName(_ name: String) -> [UInt8] {
        name.uppercased().utf8.map { character in
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): character
            default: UInt8(ascii: "_")
            }
        } + Array(".;1".utf8)
    }

    private static func unicode(_ text: String) -> [UInt8] {
        text.utf16.flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    }
}

private func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

private func little(_ value: Int, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

private func big(_ value: Int, _ count: Int) -> [UInt8] { little(value, count).reversed() }

/// Numbers stand in both orders.
private func both(_ value: Int, _ count: Int) -> [UInt8] { little(value, count) + big(value, count) }

extension String {
    fileprivate func padding(to count: Int) -> String {
        self + String(repeating: " ", count: max(0, count - self.count))
    }
}
