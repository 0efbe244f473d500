#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>

// What of Linux's calls on files Swift does not see: they are declared for _GNU_SOURCE alone, or are made by macros.
extern int fallocate64(int descriptor, int mode, int64_t offset, int64_t length);
extern int sync_file_range(int descriptor, int64_t offset, int64_t length, unsigned int flags);

static const int linux_punch_hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
static const int linux_seek_data = 3;
static const unsigned int linux_begin_writing = 2;  // SYNC_FILE_RANGE_WRITE
#if defined(__aarch64__) || defined(__arm__)
static const int linux_direct = 0200000;
#else
static const int linux_direct = 040000;
#endif

// Makes all of one file, or a part of it, the same blocks as another's; -1 with errno where that is not possible.
static inline int linux_clone(int target, int source) { return ioctl(target, FICLONE, source); }

static inline int linux_clone_range(int target, int64_t offset, int source, int64_t source_offset, int64_t length) {
    struct file_clone_range range = {source, (uint64_t)source_offset, (uint64_t)length, (uint64_t)offset};
    return ioctl(target, FICLONERANGE, &range);
}
