/* CONTRACT. Log segment format (written by cusp-runner and by the server's service lines, read by
 * src/logs). A log directory holds files out.000000.seg, out.000001.seg, ...; a writer starts a new
 * file when the current one passes SEG_FILE_BYTES. Only ever appended to.
 *
 * A file starts with the 16 bytes "cusp-seg 1\n" padded with NUL. Then frames, little-endian:
 *   u32 magic 0x67455343   u32 length of payload   u64 seq (from 0, +1 a frame, across files)
 *   u64 time (usec, wall, when the bytes were read)   u8 stream   u8 flags   u16 reserved 0
 *   u32 crc32c of (header with this field 0, then payload)   payload
 * A frame is one line without its newline (or a part of a line: SEG_PARTIAL: more follows).
 * A torn frame at the end of the last file is ignored by readers and cut off by a writer that
 * reopens the directory. The last frame of a finished writer has stream SEG_EOF, length 0. */
#ifndef CUSP_BASE_SEG_H
#define CUSP_BASE_SEG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"

#define SEG_FILE_HEADER "cusp-seg 1\n"
#define SEG_FILE_HEADER_LEN 16u
#define SEG_MAGIC 0x67455343u
#define SEG_HEAD_LEN 32u
#define SEG_FILE_BYTES (64u * 1024u * 1024u)
#define SEG_NAME_FMT "out.%06u.seg"

enum seg_stream {
    SEG_STDOUT = 1,
    SEG_STDERR = 2,
    SEG_SERVICE = 3,
    SEG_EOF = 4,
    SEG_ENTRY = 5 /* a packed LogEntry (logs/written.h) */
};
enum seg_flags {
    SEG_PARTIAL = 1,  /* the line goes on in the next frame of this stream */
    SEG_SEV_SHIFT = 4 /* service frames: bits 4-7 hold severity/100 (INFO 2, WARNING 4, ERROR 5) */
};

struct seg_frame {
    uint64_t seq;
    usec_t time;
    uint8_t stream, flags;
    struct str payload; /* view into what was decoded */
};

void seg_encode(struct buf *out, const struct seg_frame *f);
/* Decodes the frame at the start of bytes: >0 its total length, 0 need more bytes, -1 corrupt. */
ssize_t seg_decode(struct str bytes, struct seg_frame *ret);

#endif
