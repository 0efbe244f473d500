import ArgumentParser
import RoostClient

/// What an image is to be, and where its file comes from.
struct ImageOptions: ParsableArguments {
    @Option(name: .long, help: "The file; - for standard input.") var file: String?
    @Option(
        name: .long, help: ArgumentHelp("The manager fetches the file from here (http or https).", valueName: "address")
    )
    var url: String?
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The image is made of this instance's disk, as it is at one moment; the guest runs on.",
            valueName: "instance"))
    var fromInstance: String?
    @Option(name: .long, help: "raw, qcow2, vmdk, vhd, vdi or iso; by default what the file says of itself.")
    var format: String?
    @Option(name: .long, help: ArgumentHelp("What the file's SHA-256 must be.", valueName: "sha256:hex"))
    var checksum: String?
    @Option(name: .long, help: ArgumentHelp("Disk that a flavor must have.", valueName: "gib")) var minDisk: Int?
    @Option(name: .long, help: ArgumentHelp("RAM that a flavor must have.", valueName: "mib")) var minRam: Int?
    @Option(name: .long, help: ArgumentHelp("May be given several times.", valueName: "key=value"))
    var property: [String] = []
    @Flag(name: .long, help: "Refuse to delete it until this is unset.") var protected = false
    @Flag(name: .long, inversion: .prefixedNo, help: "Wait for the conversion.") var wait = true
    @Option(name: .long, help: ArgumentHelp("How long to wait for the conversion.", valueName: "seconds"))
    var waitTimeout = 3600

    func check() throws {
        guard [file, url, fromInstance].compactMap({ $0 }).count == 1 else {
            throw ValidationError("Give one of --file, --url and --from-instance.")
        }
        guard fromInstance == nil || (format == nil && checksum == nil) else {
            throw ValidationError("An instance's disk has no file of its own: leave --format and --checksum out.")
        }
    }

    /// Registers an image and brings its file to the manager.
    ///
    /// - Parameter keepsFailed: an image that could not be made stays, with the reason.
    /// - Returns: the image's ID.
    func make(
        _ name: String, _ more: JSON, keepsFailed: Bool = true, _ client: APIClient, _ printer: Printer
    ) async throws -> String {
        // Read before anything is registered: a wrong name leaves nothing behind.
        let length = try file.flatMap { path throws(Failure) in
            path == ImageSending.input ? nil : try FileUpload(path) { _ in }.length
        }
        let first = file == ImageSending.input ? try await ImageSending.readInput() : []
        if file == ImageSending.input, first.isEmpty { throw Failure.usage("there is nothing on standard input") }
        var body = JSON.present([
            "name": .string(name), "format": format.map { .string($0) }, "size_bytes": length.map { .whole(Int($0)) },
            "checksum": checksum.map { .string($0) }, "url": url.map { .string($0) },
            "from_instance": fromInstance.map { .string($0) },
            "min_disk_gib": minDisk.map { .whole($0) }, "min_ram_mib": minRam.map { .whole($0) },
            "properties": try KeyValueOptions.object(property), "protected": protected ? .flag(true) : nil,
        ])
        for member in more.members where body[member.key] == .null { body = body.setting(member.key, to: member.value) }
        let image = try await client.post("/v1/images", body)
        guard let id = image["id"].text else { throw Failure("the manager gave the image no ID") }
        let path = "/v1/images/\(Address.escaped(id))"
        do {
            let sending = ImageSending(client: client, printer: printer, id: id, name: name)
            let sent =
                switch file {
                case ImageSending.input?: try await sending.standardInput(after: first)
                case let file?: try await sending.file(file)
                case nil: image
                }
            if wait, let operation = sent["operation_id"].text {
                try await OperationWait(client, printer, seconds: waitTimeout).success(of: operation)
            }
        } catch is CancellationError {
            // A half image is of no use to anybody. The task of its own is one that Ctrl-C has not cancelled.
            printer.endProgress()
            let removed = await Task { try? await client.delete(path) }.value
            printer.note("Stopped; \(removed == nil ? "image \(id) is left unfinished" : "nothing was registered").")
            throw CancellationError()
        } catch {
            if !keepsFailed { _ = try? await client.delete(path) }
            throw error
        }
        return id
    }
}

extension ImageCommand {
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Registers an image from a file, standard input, an address or an instance's disk.",
            discussion: """
                Returns when the image can be used, or with --no-wait as soon as its file has been sent. An upload that \
                breaks off goes on by itself. The disk of an instance that runs is copied as if its power had been cut: \
                stop the instance first where that matters. An instance that is stopped starts when its disk is copied.
                """)

        @Argument(help: "The name.") var name: String
        @OptionGroup var options: ImageOptions
        @Flag(name: .customLong("private"), help: "Only the owner may use it; so it always is where a user makes it.")
        var isPrivate = false
        @OptionGroup var site: SiteOptions

        var wait: Bool { options.wait }

        func validate() throws { try options.check() }

        func run() async throws {
            try await site.withClient { client, printer in
                let more = JSON.present(["visibility": isPrivate ? .string("private") : nil])
                let id = try await options.make(name, more, client, printer)
                printer.list(try await client.get("/v1/images/\(Address.escaped(id))"), ImageCommand.columns)
            }
        }
    }

    struct Replace: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Puts a new image in an image's place, under the same name.",
            discussion: """
                The old one is renamed NAME_retired-TIME, offered to nobody any more, and kept: 'roost image replace NAME \
                --with NAME_retired-TIME' takes it back. What is not given is taken over from it.
                """)

        @Argument(help: "Name or ID of the image to be replaced.") var image: String
        @Option(name: .long, help: ArgumentHelp("An image that is here already.", valueName: "image")) var with: String?
        @OptionGroup var options: ImageOptions
        @OptionGroup var site: SiteOptions

        func validate() throws {
            guard let with else { return try options.check() }
            guard !with.isEmpty, options.file == nil, options.url == nil, options.fromInstance == nil else {
                throw ValidationError(
                    "--with names an image that is here already; leave --file, --url and --from-instance out.")
            }
            guard options.wait else { throw ValidationError("--no-wait makes no sense with --with.") }
        }

        func run() async throws {
            guard options.wait else {
                throw Failure.usage("the new image takes the name once it can be used, so this waits for it")
            }
            try await site.withClient { client, printer in
                let old = try await client.get(try path("images", image))
                guard let id = old["id"].text, let name = old["name"].text else {
                    throw Failure("the manager gave the image no name")
                }
                let successor: String
                if let with {
                    successor = with
                } else {
                    successor = try await make(old, name, client, printer)
                }
                let answer = try await client.post(
                    "/v1/images/\(Address.escaped(id))/replace", ["image": .string(successor)])
                let retired = try await client.get("/v1/images/\(Address.escaped(id))")
                printer.note(
                    "\(name.printable) is image \(Cell.shown(answer["id"])) now; the old one is kept as "
                        + "\(Cell.shown(retired["name"])).")
                printer.list(answer, ImageCommand.columns)
            }
        }

        /// The new image, with what the old one says of itself.
        private func make(_ old: JSON, _ name: String, _ client: APIClient, _ printer: Printer) async throws -> String {
            let more = JSON.present([
                "min_disk_gib": old["min_disk_gib"], "min_ram_mib": old["min_ram_mib"],
                "properties": options.property.isEmpty ? old["properties"] : nil, "visibility": .string("private"),
            ])
            return try await options.make("\(name.prefix(124))_new", more, keepsFailed: false, client, printer)
        }
    }
}
