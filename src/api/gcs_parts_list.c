/* GET /BUCKET?uploads: the multipart uploads that were begun and have not ended, as `gsutil`-like
 * tools and lifecycle scripts look for them. A page ends at a name and an id: the markers of the
 * next. */
#include "api/gcs_int.h"

#include "base/limits.h"

#define NAMESPACE " xmlns='http://s3.amazonaws.com/doc/2006-03-01/'"
#define LIST_MAX 1000

struct uploads_call {
    struct gcs_call *c;
    struct blob_uploads u;
    unsigned max;
};

/* The prefix that stands for name, or nothing. */
static struct str folder_of(const struct gcs_call *c, struct str name) {
    struct str rest = str_sub(name, c->q.prefix.n, name.n), d = c->q.delimiter;
    for (size_t i = 0; d.n && i + d.n <= rest.n; i++) {
        if (memcmp(rest.p + i, d.p, d.n) == 0) {
            return str_sub(name, 0, c->q.prefix.n + i + d.n);
        }
    }
    return (struct str){0};
}

static void put_upload(struct buf *b, const struct blob_open_upload *o) {
    buf_puts(b, "<Upload>");
    gcs_xml_element(b, "Key", o->name);
    gcs_xml_element(b, "UploadId", o->id);
    gcs_xml_element(b, "StorageClass", o->storage_class.n ? o->storage_class : STR("STANDARD"));
    gcs_xml_time(b, "Initiated", o->created);
    buf_puts(b, "</Upload>");
}

static void listed(struct blob_uploads *u, const struct err *err) {
    struct uploads_call *k = u->arg;
    struct gcs_call *c = k->c;
    if (err) {
        struct err copy = *err;
        gcs_fail(c, &copy);
        free(k);
        return;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX), items = BUF_INIT(BUF_NO_MAX),
                        folders = BUF_INIT(BUF_NO_MAX);
    struct str last_folder = {0};
    const struct blob_open_upload *last = NULL;
    size_t i = 0;
    for (unsigned n = 0; i < u->nr; i++) {
        struct str folder = folder_of(c, u->items[i].name);
        bool is_known = folder.p && last_folder.p && str_eq(folder, last_folder);
        if (!is_known && n == k->max) {
            break;
        }
        last = &u->items[i];
        if (!folder.p) {
            put_upload(&items, last);
        } else if (!is_known) {
            buf_puts(&folders, "<CommonPrefixes>");
            gcs_xml_element(&folders, "Prefix", folder);
            buf_puts(&folders, "</CommonPrefixes>");
            last_folder = folder;
        }
        n += !is_known;
    }
    buf_puts(&b, GCS_XML_HEAD "<ListMultipartUploadsResult" NAMESPACE ">");
    gcs_xml_element(&b, "Bucket", c->bucket);
    gcs_xml_element(&b, "KeyMarker", u->after_name);
    gcs_xml_element(&b, "UploadIdMarker", u->after_id);
    if (c->q.prefix.n) {
        gcs_xml_element(&b, "Prefix", c->q.prefix);
    }
    if (c->q.delimiter.n) {
        gcs_xml_element(&b, "Delimiter", c->q.delimiter);
    }
    if (i < u->nr) {
        gcs_xml_element(&b, "NextKeyMarker", last->name);
        gcs_xml_element(&b, "NextUploadIdMarker", last->id);
    }
    buf_printf(&b, "<MaxUploads>%u</MaxUploads><IsTruncated>%s</IsTruncated>", k->max,
               i < u->nr ? "true" : "false");
    buf_put_str(&b, buf_str(&items));
    buf_put_str(&b, buf_str(&folders));
    buf_puts(&b, "</ListMultipartUploadsResult>");
    gcs_xml_reply(c->x, 200, &b);
    gcs_call_free(c);
    free(k);
}

void gcs_parts_list_uploads(struct gcs_call *c) {
    uint64_t max = LIST_MAX;
    struct err err;
    if (c->q.max_uploads.n && (!str_to_u64(c->q.max_uploads, &max) || max == 0)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "max-uploads",
                  "Invalid value for max-uploads: '%.*s' is not a number from 1 to %d",
                  (int)(c->q.max_uploads.n > 50 ? 50 : c->q.max_uploads.n), c->q.max_uploads.p,
                  LIST_MAX);
        gcs_fail(c, &err);
        return;
    }
    struct uploads_call *k = xcalloc(1, sizeof(*k));
    k->c = c;
    k->max = (unsigned)(max < LIST_MAX ? max : LIST_MAX);
    k->u = (struct blob_uploads){.bucket = c->bucket,
                                 .prefix = c->q.prefix,
                                 .after_name = c->q.key_marker,
                                 .after_id = c->q.upload_marker,
                                 .cb = listed,
                                 .arg = k};
    blob_uploads_list(c->g->blob, &k->u);
}
