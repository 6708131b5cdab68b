/* http-parser 2.9.4 behind the seam. */
#include "net/h1_parse.h"

#include "base/limits.h"

#include <http_parser.h>

_Static_assert(sizeof(http_parser) <= sizeof(((struct h1_parse *)0)->backend), "backend room");

static http_parser *backend(struct h1_parse *p) {
    return (http_parser *)(void *)p->backend;
}

static int on_url(http_parser *hp, const char *at, size_t n) {
    struct h1_parse *p = hp->data;
    p->target = p->target.p ? str_n(p->target.p, p->target.n + n) : str_n(at, n);
    return 0;
}

static int on_field(http_parser *hp, const char *at, size_t n) {
    struct h1_parse *p = hp->data;
    if (p->head_done) {
        return 0; /* a trailer: checked by h1_frame_take, not delivered */
    }
    struct header *last = p->nr_headers ? &p->headers[p->nr_headers - 1] : NULL;
    if (last && !last->value.p) {
        return 1; /* a name in two pieces cannot happen in a head fed whole */
    }
    if (p->nr_headers == p->room) {
        return 1;
    }
    p->headers[p->nr_headers++] = (struct header){.name = {at, n}};
    return 0;
}

static int on_value(http_parser *hp, const char *at, size_t n) {
    struct h1_parse *p = hp->data;
    if (p->head_done) {
        return 0;
    }
    if (!p->nr_headers || p->headers[p->nr_headers - 1].value.p) {
        return 1;
    }
    p->headers[p->nr_headers - 1].value = str_trim(str_n(at, n));
    return 0;
}

static int on_headers_complete(http_parser *hp) {
    ((struct h1_parse *)hp->data)->head_done = true;
    return 0;
}

static int on_body_piece(http_parser *hp, const char *at, size_t n) {
    struct h1_parse *p = hp->data;
    p->on_body(p->arg, str_n(at, n));
    return 0;
}

static int on_chunk_header(http_parser *hp) {
    struct h1_parse *p = hp->data;
    p->chunk_size = hp->content_length;
    p->chunks++;
    return 0;
}

static int on_message_complete(http_parser *hp) {
    ((struct h1_parse *)hp->data)->message_done = true;
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body_piece,
    .on_chunk_header = on_chunk_header,
    .on_message_complete = on_message_complete,
};

const char *h1_parse_backend(void) {
    return "http-parser 2.9.4";
}

void h1_parse_setup(void) {
    /* Ours is the cap that answers; the backend's also counts trailers, so leave it room. */
    uint64_t most = limits.max_header_bytes + limits.max_header_line + 1024;
    http_parser_set_max_header_size(most < UINT32_MAX ? (uint32_t)most : UINT32_MAX);
}

/* Feeds bytes that must be consumed completely. */
static int feed(struct h1_parse *p, const char *at, size_t n, struct h1_fault *f) {
    http_parser *hp = backend(p);
    size_t took = http_parser_execute(hp, &settings, at, n);
    if (HTTP_PARSER_ERRNO(hp) == HPE_OK && took == n) {
        return 0;
    }
    p->broken = true;
    *f = HTTP_PARSER_ERRNO(hp) == HPE_INVALID_METHOD
             ? (struct h1_fault){.status = 501, .what = "Unknown request method."}
             : (struct h1_fault){.status = 400, .what = "Malformed HTTP request."};
    return -1;
}

static int disagree(struct h1_parse *p, struct h1_fault *f) {
    p->broken = true;
    *f = (struct h1_fault){.status = 400, .what = "Ambiguous HTTP framing."};
    return -1;
}

static void lower_names(struct h1_parse *p, char *head) {
    for (size_t i = 0; i < p->nr_headers; i++) {
        char *name = head + (p->headers[i].name.p - head);
        for (size_t j = 0; j < p->headers[i].name.n; j++) {
            if (name[j] >= 'A' && name[j] <= 'Z') {
                name[j] = (char)(name[j] + ('a' - 'A'));
            }
        }
    }
}

/* The backend refuses a Content-Length and a Transfer-Encoding together, so it sees one of them
 * under another name, and so does everyone after it: "identity" (h1_lint) says nothing, and beside
 * "chunked" the length says nothing (RFC 9112 6.3). TensorFlow sends both pairs. Returns whether a
 * length was overruled. */
static bool hide_overruled(char *head, size_t n) {
    struct str rest = str_n(head, n);
    char *length = NULL;
    bool chunked = false;
    while (rest.p && rest.n) {
        struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');
        value = str_sub(value, 0, value.n ? value.n - 1 : 0); /* its CR */
        if (str_ieq(name, STR("transfer-encoding")) && str_ieq(str_trim(value), STR("identity"))) {
            head[name.p - head] = 'x';
        } else if (str_ieq(name, STR("transfer-encoding"))) {
            chunked = true;
        } else if (str_ieq(name, STR("content-length"))) {
            length = head + (name.p - head);
        }
    }
    if (!chunked || !length) {
        return false;
    }
    *length = 'x';
    return true;
}

int h1_parse_head(struct h1_parse *p, char *head, size_t n, struct header *headers, size_t room,
                  void (*on_body)(void *arg, struct str bytes), void *arg, struct h1_fault *f) {
    memset(p, 0, sizeof(*p));
    p->headers = headers;
    p->room = room;
    p->on_body = on_body;
    p->arg = arg;
    http_parser_init(backend(p), HTTP_REQUEST);
    backend(p)->data = p;
    bool overruled = hide_overruled(head, n);
    if (feed(p, head, n, f)) {
        return -1;
    }
    struct str line = str_n(head, n);
    p->method = str_cut(&line, ' ');
    lower_names(p, head);
    for (size_t i = 0; i < p->nr_headers; i++) {
        struct header *h = &p->headers[i];
        if (str_eqc(h->name, "transfer-encoding")) {
            p->chunked = true; /* h1_lint: exactly "chunked" */
        } else if (str_eqc(h->name, "content-length")) {
            if (!str_to_u64(h->value, &p->left)) {
                return disagree(p, f);
            }
        }
    }
    p->http10 = backend(p)->http_minor == 0;
    /* Whoever stands before us may have taken the length (RFC 9112 6.1): nothing follows. */
    p->keep_alive = !overruled && http_should_keep_alive(backend(p)) != 0;
    p->content_length = p->chunked ? -1 : (int64_t)p->left;
    p->done = !p->chunked && p->left == 0;
    if (!p->head_done || p->nr_headers != room || p->message_done != p->done || !p->target.n) {
        return disagree(p, f);
    }
    return 0;
}

bool h1_parse_at_framing(const struct h1_parse *p) {
    return p->chunked && p->frame.at != FRAME_DATA;
}

/* Framing bytes up to the next data or the end; -1 or how many. */
static ptrdiff_t take_framing(struct h1_parse *p, struct str bytes, struct h1_fault *f) {
    unsigned chunks = p->chunks;
    ptrdiff_t n = h1_frame_take(&p->frame, bytes, f);
    if (n < 0) {
        p->broken = true;
        return -1;
    }
    if (feed(p, bytes.p, (size_t)n, f)) {
        return -1;
    }
    bool data_next = p->frame.at == FRAME_DATA;
    if ((data_next && (p->chunks == chunks || p->chunk_size != p->frame.data_left)) ||
        p->message_done != (p->frame.at == FRAME_DONE)) {
        return disagree(p, f);
    }
    return n;
}

ptrdiff_t h1_parse_body(struct h1_parse *p, struct str bytes, uint64_t max_body,
                        struct h1_fault *f) {
    size_t used = 0;
    if (p->broken) {
        return disagree(p, f);
    }
    while (used < bytes.n && !p->done) {
        struct str rest = str_sub(bytes, used, bytes.n);
        if (h1_parse_at_framing(p)) {
            ptrdiff_t n = take_framing(p, rest, f);
            if (n < 0) {
                return -1;
            }
            used += (size_t)n;
            p->done = p->message_done;
            continue;
        }
        uint64_t n = p->chunked ? p->frame.data_left : p->left;
        n = n < rest.n ? n : rest.n;
        n = n < max_body ? n : max_body;
        if (n == 0) {
            break;
        }
        max_body -= n;
        used += (size_t)n;
        if (p->chunked) {
            h1_frame_data(&p->frame, n);
        } else {
            p->left -= n;
            p->done = p->left == 0;
        }
        if (feed(p, rest.p, (size_t)n, f)) {
            return -1;
        }
        if (!p->chunked && p->message_done != p->done) {
            return disagree(p, f);
        }
    }
    return (ptrdiff_t)used;
}
