/* The body of "complete multipart upload":
 * <Part><PartNumber>N</PartNumber><ETag>"MD5"</ETag></Part> within <CompleteMultipartUpload>. Any
 * namespace, any order within a part, unknown elements are passed over. Read by expat, which bounds
 * entities; no external ones are loaded. */
#include "api/gcs_parts.h"

#include "base/enc.h"

#include <expat.h>

#define TEXT_MAX 128 /* bytes of a number or an ETag */

enum where { IN_NOTHING, IN_NUMBER, IN_ETAG };

struct reader {
    XML_Parser x;
    struct blob_part *parts;
    size_t n, max;
    unsigned depth;
    bool in_part, has_number, has_etag, failed;
    enum where where;
    char text[TEXT_MAX + 1];
    size_t text_n;
    struct err *err;
};

static void fail(struct reader *r, const char *why) {
    if (!r->failed) {
        err_field(r->err, ERR_INVALID_ARGUMENT, "MalformedCompleteMultipartUpload",
                  "The list of parts is not well-formed: %s (line %lu).", why,
                  (unsigned long)XML_GetCurrentLineNumber(r->x));
    }
    r->failed = true;
    XML_StopParser(r->x, XML_FALSE);
}

/* "NAMESPACE NAME" or "NAME" */
static bool is_named(const char *tag, const char *name) {
    const char *local = strrchr(tag, ' ');
    return strcmp(local ? local + 1 : tag, name) == 0;
}

static void on_start(void *arg, const char *tag, const char **attrs) {
    struct reader *r = arg;
    r->depth++;
    r->text_n = 0;
    r->where = IN_NOTHING;
    if (r->depth == 1 && !is_named(tag, "CompleteMultipartUpload")) {
        fail(r, "the outermost element must be CompleteMultipartUpload");
    } else if (r->depth == 2 && is_named(tag, "Part")) {
        if (r->n == r->max) {
            fail(r, "there are more than 10000 parts");
            return;
        }
        r->in_part = true;
        r->has_number = r->has_etag = false;
        r->parts[r->n] = (struct blob_part){0};
    } else if (r->depth == 3 && r->in_part) {
        r->where = is_named(tag, "PartNumber") ? IN_NUMBER
                   : is_named(tag, "ETag")     ? IN_ETAG
                                               : IN_NOTHING;
    }
}

static void on_text(void *arg, const char *p, int n) {
    struct reader *r = arg;
    if (r->where == IN_NOTHING) {
        return;
    }
    if (r->text_n + (size_t)n > TEXT_MAX) {
        fail(r, "a PartNumber or ETag is too long");
        return;
    }
    memcpy(r->text + r->text_n, p, (size_t)n);
    r->text_n += (size_t)n;
}

static void on_end(void *arg, const char *tag) {
    struct reader *r = arg;
    struct str text = str_trim(str_n(r->text, r->text_n));
    struct blob_part *p = r->in_part ? &r->parts[r->n] : NULL;
    if (r->where == IN_NUMBER && p) {
        if (!str_to_u64(text, &p->number) || p->number < 1 || p->number > BLOB_PARTS_MAX) {
            fail(r, "a PartNumber is not a number from 1 to 10000");
        }
        r->has_number = true;
    } else if (r->where == IN_ETAG && p) {
        if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"') {
            text = str_sub(text, 1, text.n - 2);
        }
        /* An ETag that is no MD5 is that of no part: all zeroes are, too. */
        if (text.n != 32 || !enc_unhex(text, p->md5)) {
            memset(p->md5, 0, sizeof(p->md5));
        }
        r->has_etag = true;
    } else if (r->depth == 2 && p) {
        if (!r->has_number || !r->has_etag) {
            fail(r, "a Part has no PartNumber or no ETag");
        }
        r->in_part = false;
        r->n++;
    }
    r->where = IN_NOTHING;
    r->depth--;
}

int gcs_parse_parts(struct arena *a, struct str body, struct blob_part **ret, size_t *ret_n,
                    struct err *err) {
    struct err unused;
    struct reader r = {.max = BLOB_PARTS_MAX, .err = err ? err : &unused};
    r.x = XML_ParserCreateNS(NULL, ' ');
    if (!r.x || body.n > INT32_MAX) {
        XML_ParserFree(r.x);
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "no memory for the list of parts");
    }
    r.parts = xcalloc(BLOB_PARTS_MAX, sizeof(*r.parts));
    XML_SetUserData(r.x, &r);
    XML_SetElementHandler(r.x, on_start, on_end);
    XML_SetCharacterDataHandler(r.x, on_text);
    if (XML_Parse(r.x, body.p ? body.p : "", (int)body.n, XML_TRUE) != XML_STATUS_OK) {
        fail(&r, XML_ErrorString(XML_GetErrorCode(r.x)));
    } else if (r.n == 0) {
        fail(&r, "it names no part");
    }
    XML_ParserFree(r.x);
    if (!r.failed) {
        *ret = arena_own_array(a, r.n, sizeof(**ret));
        memcpy(*ret, r.parts, r.n * sizeof(**ret));
        *ret_n = r.n;
    }
    free(r.parts);
    return r.failed ? -1 : 0;
}
