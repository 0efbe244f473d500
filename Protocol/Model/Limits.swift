/// Limits that both sides know. Each bounds what the other side can make this one hold (P10).
public enum Limits {
    /// A frame's payload. An inventory of a large host is well below; an assignment set may need several.
    public static let framePayloadBytes = 4 * 1024 * 1024
    /// The first frame of a session comes from a peer that is not known yet.
    public static let firstFramePayloadBytes = 64 * 1024
    /// Data of one chunk of an image at most, before compression (DESIGN §6). A power of two, as every chunk's size.
    public static let chunkBytes = 4 * 1024 * 1024
    /// Data of one chunk at least: less would cost more in requests than it saves in waiting.
    public static let smallestChunkBytes = 512 * 1024
    /// Chunks of an image whose chunks are smaller than the largest.
    public static let smallChunksPerImage = 4096
    /// Concurrent multiplexed streams in one session.
    public static let streamsPerSession = 256
    /// Frames that may wait for a slow peer before its session ends.
    public static let queuedFrames = 1024
    /// Samples in one usage batch.
    public static let samplesPerBatch = 5000
    /// Messages that make up one assignment set: room for four thousand guests with all the user data that there can be.
    public static let assignmentSetParts = 64
    /// User data of an instance, as cloud-init's sources allow it.
    public static let userDataBytes = 64 * 1024
    /// The largest image, raw: 16 TiB.
    public static let imageBytes: Int64 = 16 << 40
}
