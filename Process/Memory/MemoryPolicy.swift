import CMalloc

/// Makes the C library give large buffers back to the system as soon as they are free; called once, first thing.
///
/// Left alone, glibc takes a freed buffer of 4 MiB, a chunk of an image, as a sign to keep such buffers in its heap from
/// then on, where one small allocation behind them holds them for the life of the process (mallopt(3), M_MMAP_THRESHOLD).
/// And each thread that allocates gets a heap of its own, up to eight for each core.
public func keepMemorySmall() {
    mallopt(M_MMAP_THRESHOLD, 256 << 10)
    mallopt(M_TRIM_THRESHOLD, 256 << 10)
    mallopt(M_ARENA_MAX, 4)
}
