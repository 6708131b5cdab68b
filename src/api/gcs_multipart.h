/* Streaming parser of multipart/related upload bodies (reference 21 §3.1): one JSON part, one media
 * part whose bytes are handed on as they come. CRLF and bare LF, any quoting of the boundary, with
 * or without a line end before the last delimiter. Pure. */
#ifndef CUSP_API_GCS_MULTIPART_H
#define CUSP_API_GCS_MULTIPART_H

#include "base/buf.h"
#include "base/err.h"

#define MULTIPART_BOUNDARY_MAX 200 /* RFC 2046 says 70 */

struct multipart {
    char delim[MULTIPART_BOUNDARY_MAX + 4]; /* "--BOUNDARY" */
    size_t delim_n;
    enum { MP_PREAMBLE, MP_HEAD1, MP_JSON, MP_HEAD2, MP_DATA, MP_DONE } at;
    bool is_crlf;
    struct buf head;           /* everything before the media bytes; bounded */
    size_t line;               /* start of the line being collected */
    size_t json_from, json_to; /* in head */
    size_t type_from, type_n;  /* in head: the media part's Content-Type */
    struct buf tail;           /* last bytes seen, which may begin a delimiter */
    void (*data)(void *arg, struct str bytes);
    void *arg;
};

/* content_type: the request's header. max_json bounds everything before the media bytes. */
/* The boundary of a Content-Type, with or without quotes of either kind; .p NULL: none. */
struct str multipart_boundary(struct str content_type);
int multipart_init(struct multipart *m, struct str content_type, size_t max_json,
                   void (*data)(void *arg, struct str bytes), void *arg,
                   struct err *err) MUST_CHECK;
void multipart_fini(struct multipart *m);
int multipart_feed(struct multipart *m, struct str bytes, struct err *err) MUST_CHECK;
/* The body is complete; gives out the last bytes. Fails when the last delimiter is missing. */
int multipart_end(struct multipart *m, struct err *err) MUST_CHECK;
/* True from the first media byte on: json and media_type are known. */
static inline bool multipart_has_json(const struct multipart *m) {
    return m->at >= MP_DATA;
}
/* Views that live as long as m. The type is empty when the part names none. */
struct str multipart_json(const struct multipart *m);
struct str multipart_media_type(const struct multipart *m);

#endif
