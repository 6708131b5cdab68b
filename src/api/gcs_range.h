/* Range, Content-Range and x-goog-hash headers of the Cloud Storage API. Pure. */
#ifndef CUSP_API_GCS_RANGE_H
#define CUSP_API_GCS_RANGE_H

#include "base/str.h"

enum range_kind {
    RANGE_WHOLE, /* no header, several ranges, or one we do not understand: send everything */
    RANGE_PART,  /* 206 */
    RANGE_UNSATISFIABLE, /* 416 */
};
enum range_kind range_parse(struct str header, uint64_t size, uint64_t *ret_first, uint64_t *ret_n);

/* The forms of reference 21 §3.3: first-last/total with a star for what is not known, and a star
 * for the whole first-last in a status query. */
struct content_range {
    bool is_query; /* no bytes: asks how much has arrived (and completes when it is all) */
    uint64_t first, last, total;
    bool has_last, has_total; /* neither, and not a query: the rest of the object, however long */
};
bool content_range_parse(struct str header, struct content_range *ret);

/* "crc32c=...,md5=..." in any order, several headers joined by commas. False when malformed. */
struct goog_hash {
    bool has_crc32c, has_md5;
    uint32_t crc32c;
    uint8_t md5[16];
};
bool goog_hash_parse(struct str header, struct goog_hash *ret);
bool hash_from_base64(struct str s, uint8_t *out, size_t n);

#endif
