import ArgumentParser

extension ImageCommand {
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Uploads an image, has it converted, and registers it.",
            discussion: "Returns when the image can be used, or with --no-wait as soon as it is uploaded.")

        @Argument(help: "The name.") var name: String
        @Option(name: .long, help: "The file.") var file: String
        @Option(name: .long, help: "raw, qcow2, vmdk, vhd or iso; by default what the file says of itself.")
        var format: String?
        @Option(name: .long, help: ArgumentHelp("Disk that a flavor must have.", valueName: "gib")) var minDisk: Int?
        @Option(name: .long, help: ArgumentHelp("RAM that a flavor must have.", valueName: "mib")) var minRam: Int?
        @Option(name: .long, help: ArgumentHelp("May be given several times.", valueName: "key=value"))
        var property: [String] = []
        @Flag(name: .customLong("private"), help: "Only the owner may use it; so it always is where a user makes it.")
        var isPrivate = false
        @Flag(name: .long, inversion: .prefixedNo, help: "Wait for the conversion.") var wait = true
        @Option(name: .long, help: ArgumentHelp("How long to wait for the conversion.", valueName: "seconds"))
        var waitTimeout = 3600
        @OptionGroup var site: SiteOptions

        func run() async throws {
            // Opened before anything is registered: a wrong name leaves nothing behind.
            let length = try FileUpload(file) { _ in }.length
            let properties = try KeyValueOptions.object(property)
            try await site.withClient { client, printer in
                let progress = UploadProgress(printer, name: name, total: length)
                let upload = try FileUpload(file) { progress.report($0) }
                let body = JSON.present([
                    "name": .string(name), "format": format.map { .string($0) },
                    "size_bytes": .whole(Int(upload.length)),
                    "min_disk_gib": minDisk.map { .whole($0) }, "min_ram_mib": minRam.map { .whole($0) },
                    "properties": properties, "visibility": isPrivate ? .string("private") : nil,
                ])
                let image = try await client.post("/v1/images", body)
                guard let id = image["id"].text else { throw Failure("the manager gave the image no ID") }
                let uploaded = try await send(upload, id, client, printer)
                if wait, let operation = uploaded["operation_id"].text {
                    try await OperationWait(client, printer, seconds: waitTimeout).success(of: operation)
                }
                printer.list(try await client.get("/v1/images/\(APIClient.escaped(id))"), ImageCommand.columns)
            }
        }

        private func send(
            _ upload: FileUpload, _ id: String, _ client: APIClient, _ printer: Printer
        ) async throws -> JSON {
            let target = "/v1/images/\(APIClient.escaped(id))"
            defer { printer.endProgress() }
            do {
                return try await client.upload(target + "/file", upload, length: upload.length)
            } catch let failure as Failure where failure.kind == .unreachable {
                // The manager may refuse an image by its first bytes and hang up on the rest: it knows why.
                let image = try? await client.get(target)
                guard let reason = image?["status_reason"].text, image?["status"].text == "error", !reason.isEmpty
                else {
                    throw failure
                }
                throw Failure("the manager refused the image: \(reason)")
            } catch is CancellationError {
                // A half image is of no use to anybody. The task of its own is one that Ctrl-C has not cancelled.
                printer.endProgress()
                let removed = await Task { try? await client.delete(target) }.value
                printer.note(
                    "Stopped; \(removed == nil ? "image \(id) is left unfinished" : "nothing was registered").")
                throw CancellationError()
            }
        }
    }
}
