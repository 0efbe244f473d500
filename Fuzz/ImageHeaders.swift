import ManagerImageHeaders
import ProtocolModel

/// A file that begins and ends with the fuzzer's bytes, with as many zeros between as its second byte says. However its
/// header lies, inspection reads little, within the file, and what it lets through it lets through again.
@Sendable
func fuzzImageHeaders(_ input: UnsafeRawBufferPointer) {
    guard input.count > 2 else { return }
    let formats: [ImageFormat?] = [nil] + ImageFormat.allCases
    let declared = formats[Int(input[0]) % formats.count]
    let file = SparseFile(bytes: Array(input.dropFirst(2)), gap: Int64(input[1] % 128) << Int64(input[1] % 40))
    guard let found = inspect(file, declared) else { return }
    precondition(found.virtualSize > 0 && found.virtualSize <= Limits.imageBytes, "no size for an image")
    precondition(found.virtualSize % 512 == 0, "half a sector")
    precondition(declared == nil || declared == found.format, "another format than the one declared")
    precondition(inspect(file, found.format) == found, "what was let through is refused the second time")
    // Tables that say they describe terabytes are read as far as they are in the file, which takes long for a fuzzer.
    guard found.virtualSize <= 64 << 30 else { return }
    try? ImageExtents.check(reader: file.checkedRead, found, fileBytes: file.size)
}

private struct SparseFile {
    let bytes: [UInt8]
    let gap: Int64
    /// Where the second half of the bytes is moved by the gap; a VHD has its header at the end.
    var half: Int { bytes.count / 2 }
    var size: Int64 { Int64(bytes.count) + gap }

    func checkedRead(_ offset: Int64, _ count: Int) -> [UInt8] {
        precondition(offset >= 0 && count >= 0 && offset + Int64(count) <= size, "read outside the file")
        return read(offset, count)
    }

    func read(_ offset: Int64, _ count: Int) -> [UInt8] {
        (offset..<offset + Int64(count)).map { position in
            if position < half { return bytes[Int(position)] }
            return position < Int64(half) + gap ? 0 : bytes[Int(position - gap)]
        }
    }
}

private func inspect(_ file: SparseFile, _ declared: ImageFormat?) -> InspectedImage? {
    var total = 0
    return try? ImageInspector.inspect(
        reader: { offset, count in
            precondition(offset >= 0 && count >= 0 && offset + Int64(count) <= file.size, "read outside the file")
            total += count
            precondition(total <= 2 << 20, "read more than a header")
            return file.read(offset, count)
        }, declared: declared, fileBytes: file.size)
}
