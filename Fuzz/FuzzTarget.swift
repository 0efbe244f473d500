/// Something that takes bytes from outside, with what must hold whatever they are. A breach traps, which libFuzzer keeps as
/// an input to replay.
public struct FuzzTarget: Sendable {
    /// Also the name of its folder in `corpus/`.
    public let name: String
    public let run: @Sendable (UnsafeRawBufferPointer) -> Void

    public static let all = [
        FuzzTarget(name: "frames", run: fuzzFrames),
        FuzzTarget(name: "sessions", run: fuzzSessions),
        FuzzTarget(name: "image-headers", run: fuzzImageHeaders),
    ]
}
