import Foundation
import Fuzz

/// What libFuzzer calls with each input. `ROOST_FUZZ_TARGET` names the target (`packaging/fuzz` sets it).
private let chosen: FuzzTarget = {
    let name = ProcessInfo.processInfo.environment["ROOST_FUZZ_TARGET"] ?? ""
    guard let target = FuzzTarget.all.first(where: { $0.name == name }) else {
        print("no fuzz target '\(name)'; there are: \(FuzzTarget.all.map(\.name).joined(separator: " "))")
        exit(2)
    }
    return target
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafeRawPointer?, _ count: Int) -> CInt {
    chosen.run(UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
    return 0
}
