import Foundation

/// A data folder before it is one. Its files are made in a folder inside it and moved up at the end, what marks it as a
/// site's last: a crash in the middle leaves no half site. The folder itself is never replaced, since it may be where a
/// disk is mounted.
struct SiteInMaking {
    /// Where the files are made.
    let site: Site
    private let folder: String

    /// What a new file system holds by itself.
    private static let ignored: Set<String> = ["lost+found"]
    private static let name = ".making"

    /// - Throws: `SiteError.files` for a folder that holds something already, or cannot be made.
    init(_ folder: String) throws {
        self.folder = folder
        site = Site(folder: folder + "/" + Self.name)
        let files = FileManager.default
        let contents = Set((try? files.contentsOfDirectory(atPath: folder)) ?? [])
        guard contents.subtracting(Self.ignored).subtracting([Self.name]).isEmpty else {
            throw SiteError.files("\(folder) is not empty; give an empty or new folder with --data")
        }
        do {
            // Left by one that was ended in the middle.
            try? files.removeItem(atPath: site.folder)
            try files.createDirectory(
                atPath: site.folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            // Also a folder that was there before: what comes into it is nobody else's business.
            try files.setAttributes([.posixPermissions: 0o700], ofItemAtPath: folder)
        } catch {
            throw SiteError.files("cannot make \(folder): \(error.localizedDescription)")
        }
    }

    /// Moves all files to their place.
    func publish() throws {
        let files = FileManager.default
        let marker = URL(fileURLWithPath: site.authorityPath).lastPathComponent
        let names = try files.contentsOfDirectory(atPath: site.folder).filter { $0 != marker }.sorted()
        for name in names + [marker] {
            guard rename(site.folder + "/" + name, folder + "/" + name) == 0 else {
                throw SiteError.files("cannot make \(folder): \(String(cString: strerror(errno)))")
            }
        }
        try files.removeItem(atPath: site.folder)
    }

    func abandon() {
        try? FileManager.default.removeItem(atPath: site.folder)
    }
}
