/* Objects: list, delete, edit, copy, rewrite, move, compose (reference 21 §5). Reading is
 * gcs_download.c's, writing gcs_upload.c's. */
#include "api/gcs_int.h"

#include "base/jw.h"
#include "base/limits.h"

#define REWRITE_UNIT (1ull << 20)
/* Copied by one rewrite call that names no maximum: a client's patience is a minute. */
#define REWRITE_SHARE (4ull << 30)

static int number(struct str text, const char *key, uint64_t *ret, struct err *err) {
    if (text.n && !str_to_u64(text, ret)) {
        return err_field(err, ERR_INVALID_ARGUMENT, key, "Invalid value for %s: '%.*s'", key,
                         (int)(text.n > 50 ? 50 : text.n), text.p);
    }
    return 0;
}

/* ---- list ---- */

static void list_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        gcs_put_list(&b, c->x, r);
        gcs_reply_json(c->x, 200, &b);
        gcs_call_free(c);
    }
}

static void empty_list_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(64);
        buf_puts(&b, "{\"kind\":\"storage#objects\"}");
        gcs_reply_json(c->x, 200, &b);
        gcs_call_free(c);
    }
}

void gcs_objects(struct gcs_call *c, struct str method) {
    struct err err;
    if (str_eqc(method, "POST")) { /* some clients leave /upload out for media */
        gcs_upload(c);
        return;
    }
    if (!str_eqc(method, "GET")) {
        gcs_not_built(c);
        return;
    }
    if (gcs_page(c, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    c->req.bucket = c->bucket;
    if (c->q.soft_deleted) { /* deleted is gone, here */
        c->req.cb = empty_list_out;
        blob_bucket_get(c->g->blob, &c->req);
        return;
    }
    c->req.prefix = c->q.prefix;
    c->req.delimiter = c->q.delimiter;
    c->req.start_offset = c->q.start_offset;
    c->req.end_offset = c->q.end_offset;
    c->req.glob = c->q.match_glob;
    c->req.with_folder_objects = c->q.trailing_delimiter;
    c->req.cb = list_out;
    blob_object_list(c->g->blob, &c->req);
}

/* ---- one object ---- */

static void object_out(struct blob_req *r, const struct err *err) {
    struct gcs_call *c = gcs_call_of(r, err);
    if (c) {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        gcs_put_object(&b, c->x, r->meta);
        gcs_reply_json(c->x, 200, &b);
        gcs_call_free(c);
    }
}

static int edit_facts(struct blob_req *r, struct err *err) {
    struct gcs_call *c = r->arg;
    return gcs_edit_object(r->arena, c->body, c->is_update, r->meta, err);
}

void gcs_object(struct gcs_call *c, struct str method) {
    struct err err;
    c->req.bucket = c->bucket;
    c->req.name = c->name;
    c->req.pre = c->q.pre;
    if (number(c->q.generation, "generation", &c->req.generation, &err) < 0 ||
        blob_check_object_name(c->name, &err) < 0) {
        gcs_fail(c, &err);
    } else if (str_eqc(method, "GET") || str_eqc(method, "HEAD")) {
        gcs_download(c);
    } else if (str_eqc(method, "DELETE")) {
        c->req.cb = gcs_gone_out;
        blob_object_delete(c->g->blob, &c->req);
    } else if (str_eqc(method, "PATCH") || str_eqc(method, "PUT")) {
        c->is_update = str_eqc(method, "PUT");
        gcs_edit(c, edit_facts, object_out, blob_object_edit);
    } else {
        gcs_not_built(c);
    }
}

/* ---- copy, rewrite, compose ---- */

struct copying {
    struct gcs_call *c;
    struct blob_copy copy;
    struct blob_source src; /* copy, rewrite */
    bool is_rewrite;
    struct str body;
};

static void copy_reply(struct copying *k, const struct blob_meta *m, const struct err *err) {
    struct gcs_call *c = k->c;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (err) {
        gcs_answer_err(c, err);
    } else if (c->is_xml) {
        gcs_xml_copied(c, m);
    } else if (!k->is_rewrite) {
        gcs_put_object(&b, c->x, m);
        gcs_reply_json(c->x, 200, &b);
    } else {
        struct jw w;
        auto_buf struct buf object = BUF_INIT(BUF_NO_MAX);
        jw_init(&w, &b, 0);
        jw_object(&w);
        jw_kv(&w, "kind", "storage#rewriteResponse");
        jw_kv_u64_string(&w, "totalBytesRewritten", k->copy.copied);
        jw_kv_u64_string(&w, "objectSize", k->copy.size);
        jw_key(&w, "done");
        jw_bool(&w, m != NULL);
        if (m) {
            gcs_put_object(&object, c->x, m);
            jw_key(&w, "resource");
            jw_raw(&w, buf_str(&object));
        } else {
            jw_key(&w, "rewriteToken");
            jw_str(&w, k->copy.next_token);
        }
        jw_end_object(&w);
        gcs_reply_json(c->x, 200, &b);
    }
    gcs_call_free(c);
    free(k);
}

static void copy_out(struct blob_copy *copy, const struct blob_meta *m, const struct err *err) {
    copy_reply(copy->arg, m, err);
}

/* What the source is, and over it what the body says. Checksums there are the source's, copied by
 * clients without looking (reference 21 §5): they are not promises about the new bytes. */
static int copy_facts(struct blob_copy *copy, const struct blob_meta *first, struct err *err) {
    struct copying *k = copy->arg;
    struct arena *a = k->c->a;
    struct blob_put given = {0}, *put = &copy->put;
    put->content_type = arena_str(a, first->content_type);
    put->content_encoding = arena_str(a, first->content_encoding);
    put->cache_control = arena_str(a, first->cache_control);
    put->content_disposition = arena_str(a, first->content_disposition);
    put->content_language = arena_str(a, first->content_language);
    put->storage_class = arena_str(a, first->storage_class);
    put->doc = arena_str(a, first->doc);
    struct blob_pair *custom = arena_own_array(a, first->nr_custom + 1, sizeof(*custom));
    for (size_t i = 0; i < first->nr_custom; i++) {
        custom[i] = (struct blob_pair){arena_str(a, first->custom[i].key),
                                       arena_str(a, first->custom[i].value)};
    }
    put->custom = custom;
    put->nr_custom = first->nr_custom;
    given = *put;
    if (gcs_parse_object(a, k->body, &given, err) < 0) {
        return -1;
    }
    given.bucket = put->bucket;
    given.name = put->name;
    given.has_expect_crc32c = given.has_expect_md5 = false;
    *put = given;
    return 0;
}

static struct copying *copying_new(struct gcs_call *c, struct str bucket, struct str name) {
    struct copying *k = xcalloc(1, sizeof(*k));
    k->c = c;
    k->copy.put = (struct blob_put){.bucket = bucket, .name = name, .pre = c->q.pre, .size = -1};
    k->copy.cb = copy_out;
    k->copy.arg = k;
    return k;
}

static void copy_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct copying *k = arg;
    struct gcs_call *c = k->c;
    struct err err;
    uint64_t share = REWRITE_SHARE;
    k->body = body;
    if (why) {
        copy_reply(k, NULL, why);
        return;
    }
    if (number(c->q.source_generation, "sourceGeneration", &k->src.generation, &err) < 0 ||
        number(c->q.max_rewritten, "maxBytesRewrittenPerCall", &share, &err) < 0 ||
        blob_check_object_name(k->copy.put.name, &err) < 0) {
        copy_reply(k, NULL, &err);
        return;
    }
    if (share == 0 || share % REWRITE_UNIT != 0) {
        err_field(&err, ERR_INVALID_ARGUMENT, "maxBytesRewrittenPerCall",
                  "Invalid value for maxBytesRewrittenPerCall: must be a multiple of %llu",
                  REWRITE_UNIT);
        copy_reply(k, NULL, &err);
        return;
    }
    k->copy.src = &k->src;
    k->copy.nr_src = 1;
    k->copy.facts = copy_facts;
    k->copy.max_bytes = k->is_rewrite ? share : 0;
    k->copy.token = k->is_rewrite ? c->q.rewrite_token : STR("");
    blob_object_copy(c->g->blob, &k->copy);
}

/* SRC and B/o/DST are raw. */
static void on_copy(struct gcs_call *c, struct str src, struct str dst, bool is_rewrite) {
    struct err err;
    struct str bucket, name, raw_name = dst;
    struct str raw_bucket = str_cut(&raw_name, '/');
    if (!str_starts(raw_name, STR("o/")) || gcs_unpercent(c, raw_bucket, &bucket, &err) < 0 ||
        gcs_unpercent(c, str_sub(raw_name, 2, raw_name.n), &name, &err) < 0 ||
        gcs_unpercent(c, src, &c->name, &err) < 0) {
        err_set(&err, ERR_INVALID_ARGUMENT, "Malformed path of a copy");
        gcs_fail(c, &err);
        return;
    }
    struct copying *k = copying_new(c, bucket, name);
    k->is_rewrite = is_rewrite;
    k->src = (struct blob_source){.bucket = c->bucket, .name = c->name, .pre = c->q.src_pre};
    xch_collect_plain(c->x, limits.max_object_metadata, copy_body, k);
}

void gcs_xml_copy(struct gcs_call *c, struct str source) {
    struct err err;
    struct str name = str_starts(source, STR("/")) ? str_sub(source, 1, source.n) : source;
    struct str bucket = str_cut(&name, '/');
    if (!name.n || gcs_unpercent(c, name, &name, &err) < 0) {
        err_field(&err, ERR_INVALID_ARGUMENT, "x-goog-copy-source",
                  "Invalid value for x-goog-copy-source: /BUCKET/OBJECT is expected");
        gcs_fail(c, &err);
        return;
    }
    struct copying *k = copying_new(c, c->bucket, c->name);
    k->src = (struct blob_source){.bucket = bucket, .name = name};
    xch_collect_plain(c->x, limits.max_object_metadata, copy_body, k);
}

static void compose_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct copying *k = arg;
    struct gcs_call *c = k->c;
    struct blob_source *src;
    struct err err;
    if (why) {
        copy_reply(k, NULL, why);
        return;
    }
    if (blob_check_object_name(c->name, &err) < 0 ||
        gcs_parse_compose(c->a, body, c->bucket, &k->copy.put, &src, &k->copy.nr_src, &err) < 0) {
        copy_reply(k, NULL, &err);
        return;
    }
    k->copy.put.bucket = c->bucket;
    k->copy.put.name = c->name;
    k->copy.put.has_expect_crc32c = k->copy.put.has_expect_md5 = false; /* the first source's */
    k->copy.src = src;
    k->copy.is_compose = true;
    blob_object_copy(c->g->blob, &k->copy);
}

/* ---- move ---- */

static void on_move(struct gcs_call *c, struct str src, struct str dst) {
    struct err err;
    if (gcs_unpercent(c, src, &c->req.src_name, &err) < 0 ||
        gcs_unpercent(c, dst, &c->name, &err) < 0 ||
        number(c->q.source_generation, "sourceGeneration", &c->req.src_generation, &err) < 0) {
        gcs_fail(c, &err);
        return;
    }
    c->req.bucket = c->bucket;
    c->req.name = c->name;
    c->req.pre = c->q.pre;
    c->req.src_pre = c->q.src_pre;
    c->req.cb = object_out;
    blob_object_move(c->g->blob, &c->req);
}

/* ---- the verbs of a path ---- */

static bool cut_at(struct str raw, struct str word, struct str *before, struct str *after) {
    ptrdiff_t at = str_find(raw, word);
    if (at <= 0) {
        return false;
    }
    *before = str_sub(raw, 0, (size_t)at);
    *after = str_sub(raw, (size_t)at + word.n, raw.n);
    return true;
}

bool gcs_object_verb(struct gcs_call *c, struct str method, struct str raw) {
    struct err err;
    struct str src, dst;
    if (str_ends(raw, STR("/acl")) || cut_at(raw, STR("/acl/"), &src, &dst)) {
        err_set(&err, ERR_INVALID_ARGUMENT,
                "Cannot use legacy ACL for an object when uniform bucket-level access is enabled. "
                "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access");
        gcs_fail(c, &err);
        return true;
    }
    if (!str_eqc(method, "POST")) {
        return false;
    }
    if (cut_at(raw, STR("/rewriteTo/b/"), &src, &dst)) {
        on_copy(c, src, dst, true);
    } else if (cut_at(raw, STR("/copyTo/b/"), &src, &dst)) {
        on_copy(c, src, dst, false);
    } else if (cut_at(raw, STR("/moveTo/o/"), &src, &dst)) {
        on_move(c, src, dst);
    } else if (str_ends(raw, STR("/compose"))) {
        if (gcs_unpercent(c, str_sub(raw, 0, raw.n - STR("/compose").n), &c->name, &err) < 0) {
            gcs_fail(c, &err);
        } else {
            xch_collect_plain(c->x, limits.max_object_metadata, compose_body,
                              copying_new(c, c->bucket, c->name));
        }
    } else {
        gcs_not_built(c);
    }
    return true;
}
