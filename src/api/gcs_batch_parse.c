/* Taking a batch body apart (reference 21 §5): parts of whole requests. */
#include "api/gcs_batch.h"

#include "api/gcs_multipart.h"

#define PART_HEADERS_MAX 64 /* of a part's request */

/* One line without its end; *rest behind it. */
static struct str line(struct str *rest) {
    struct str l = str_cut(rest, '\n');
    return l.n && l.p[l.n - 1] == '\r' ? str_sub(l, 0, l.n - 1) : l;
}

static int read_headers(struct arena *a, struct str *rest, struct headers *ret, struct err *err) {
    ret->p = arena_own_array(a, PART_HEADERS_MAX, sizeof(*ret->p));
    for (;;) {
        struct str value = line(rest);
        if (value.n == 0) {
            return 0;
        }
        struct str name = str_trim(str_cut(&value, ':'));
        if (!value.p || ret->n == PART_HEADERS_MAX) {
            return err_set(err, ERR_INVALID_ARGUMENT, "Malformed headers in a part of the batch");
        }
        char *lower = arena_strndup(a, name.p, name.n);
        for (size_t i = 0; lower && i < name.n; i++) {
            lower[i] = (char)(lower[i] >= 'A' && lower[i] <= 'Z' ? lower[i] + 32 : lower[i]);
        }
        ret->p[ret->n++] = (struct header){str_n(lower, lower ? name.n : 0), str_trim(value)};
    }
}

static struct str find_header(const struct headers *h, const char *name) {
    for (size_t i = 0; i < h->n; i++) {
        if (str_eqc(h->p[i].name, name)) {
            return h->p[i].value;
        }
    }
    return STR("");
}

/* "https://host/storage/v1/..." or "/storage/v1/..." -> path and query. */
static int read_target(struct batch_request *p, struct str target, struct err *err) {
    ptrdiff_t scheme = str_find(target, STR("://"));
    if (scheme > 0) {
        struct str rest = str_sub(target, (size_t)scheme + 3, target.n);
        ptrdiff_t slash = str_chr(rest, '/');
        target = slash < 0 ? STR("") : str_sub(rest, (size_t)slash, rest.n);
    }
    struct str query = target;
    p->path = str_cut(&query, '?');
    p->query = query;
    if (!str_starts(p->path, STR("/")) || str_find(p->path, STR("upload/")) >= 0 ||
        str_starts(p->path, STR("/download/")) || str_starts(p->path, STR("/batch")) ||
        str_find(query, STR("alt=media")) >= 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "Uploads, downloads and batches cannot be part of a batch: %.*s",
                       (int)(target.n > 200 ? 200 : target.n), target.p ? target.p : "");
    }
    return 0;
}

static int read_part(struct arena *a, struct str text, struct batch_request *p, struct err *err) {
    struct headers outer = {0};
    uint64_t length;
    if (read_headers(a, &text, &outer, err) < 0) {
        return -1;
    }
    while (text.n && (text.p[0] == '\r' || text.p[0] == '\n')) {
        text = str_sub(text, 1, text.n);
    }
    struct str rest = line(&text);
    *p = (struct batch_request){.content_id = find_header(&outer, "content-id")};
    p->method = str_cut(&rest, ' ');
    if (!rest.p || !p->method.n || read_target(p, str_cut(&rest, ' '), err) < 0) {
        return rest.p ? -1
                      : err_set(err, ERR_INVALID_ARGUMENT, "A part of the batch is no request");
    }
    if (read_headers(a, &text, &p->headers, err) < 0) {
        return -1;
    }
    struct str given = find_header(&p->headers, "content-length");
    if (given.n && str_to_u64(given, &length) && length <= text.n) {
        text = str_sub(text, 0, (size_t)length);
    } else {
        while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r')) {
            text.n--;
        }
    }
    p->body = text.n ? text : STR("");
    return 0;
}

int gcs_batch_parse(struct arena *a, struct str content_type, struct str body,
                    struct batch_request *out, size_t *ret_n, struct err *err) {
    struct str boundary = multipart_boundary(content_type);
    if (boundary.n == 0 || boundary.n > MULTIPART_BOUNDARY_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "content-type",
                         "The Content-Type of a batch must be multipart/mixed with a boundary");
    }
    struct str delim = str_of(arena_printf(a, "--%.*s", STR_ARG(boundary)));
    size_t n = 0;
    ptrdiff_t at = str_find(body, delim);
    while (at >= 0) {
        struct str rest = str_sub(body, (size_t)at + delim.n, body.n);
        if (str_starts(rest, STR("--"))) {
            *ret_n = n;
            return n ? 0 : err_set(err, ERR_INVALID_ARGUMENT, "The batch holds no request");
        }
        (void)line(&rest);
        at = str_find(rest, delim);
        if (at < 0) {
            break;
        }
        if (n == BATCH_MAX) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "The batch holds more than %d requests, which is the maximum.",
                           BATCH_MAX);
        }
        if (read_part(a, str_sub(rest, 0, (size_t)at), &out[n++], err) < 0) {
            return -1;
        }
        body = rest;
    }
    return err_set(err, ERR_INVALID_ARGUMENT, "The last delimiter of the batch is missing");
}
