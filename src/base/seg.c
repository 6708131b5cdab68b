/* Log segment frames. */
#include "base/seg.h"
#include "base/enc.h"
#include "base/limits.h"

#include <endian.h>

struct head {
    uint32_t magic, len;
    uint64_t seq, time;
    uint8_t stream, flags;
    uint16_t reserved;
    uint32_t crc;
};
_Static_assert(sizeof(struct head) == SEG_HEAD_LEN, "frame head is packed by layout");

void seg_encode(struct buf *out, const struct seg_frame *f) {
    struct head h = {htole32(SEG_MAGIC),
                     htole32((uint32_t)f->payload.n),
                     htole64(f->seq),
                     htole64(f->time),
                     f->stream,
                     f->flags,
                     0,
                     0};
    h.crc = htole32(enc_crc32c(enc_crc32c(0, &h, sizeof(h)), f->payload.p, f->payload.n));
    buf_put(out, &h, sizeof(h));
    buf_put_str(out, f->payload);
}

ssize_t seg_decode(struct str bytes, struct seg_frame *ret) {
    struct head h;
    if (bytes.n < sizeof(h)) {
        return 0;
    }
    memcpy(&h, bytes.p, sizeof(h));
    uint32_t len = le32toh(h.len), crc = le32toh(h.crc);
    if (le32toh(h.magic) != SEG_MAGIC || len > 4 * limits.log_line_bytes) {
        return -1;
    }
    if (bytes.n - sizeof(h) < len) {
        return 0;
    }
    struct str payload = str_sub(bytes, sizeof(h), len);
    h.crc = 0;
    if (enc_crc32c(enc_crc32c(0, &h, sizeof(h)), payload.p, payload.n) != crc) {
        return -1;
    }
    *ret = (struct seg_frame){le64toh(h.seq), le64toh(h.time), h.stream, h.flags, payload};
    return (ssize_t)(sizeof(h) + len);
}
