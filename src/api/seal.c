/* See seal.h. */
#include "api/seal.h"

#include "base/enc.h"
#include "base/limits.h"

#include <openssl/evp.h>

#define PAGE 500u
#define AT_ONCE 8u /* files whose checksums are computed side by side */

struct look {
    struct seal *s;
    struct blob_req req;
    struct seal_file *file;
};

struct seal {
    struct blob *b;
    struct seal_wish w;
    struct arena *arena;
    struct str bucket, prefix;
    struct blob_req list;
    struct seal_file *page; /* of the page being looked at; in list.arena */
    size_t nr_page, next_look, nr_looking;
    struct str token;
    uint64_t files, bytes;
    struct buf text;
    EVP_MD_CTX *digest;
    bool is_cancelled, failed;
    struct err err;
};

int seal_folder(struct arena *a, struct str uri, const char *field, struct str *ret_bucket,
                struct str *ret_prefix, struct err *err) {
    struct err why;
    struct str rest = uri;
    if (!str_starts(uri, STR("gs://"))) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "\"%.*s\" is not a Cloud Storage URI such as gs://BUCKET/PATH.",
                         (int)(uri.n < 200 ? uri.n : 200), uri.p ? uri.p : "");
    }
    rest = str_sub(uri, 5, uri.n);
    struct str bucket = str_cut(&rest, '/');
    while (rest.n && rest.p[rest.n - 1] == '/') {
        rest.n--;
    }
    if (blob_check_bucket_name(bucket, &why) || (rest.n && blob_check_object_name(rest, &why))) {
        return err_field(err, ERR_INVALID_ARGUMENT, field, "\"%.*s\": %s",
                         (int)(uri.n < 200 ? uri.n : 200), uri.p, why.msg);
    }
    *ret_bucket = bucket;
    *ret_prefix = rest.n ? str_of(arena_printf(a, "%.*s/", STR_ARG(rest))) : STR("");
    return 0;
}

/* ---- the text ---- */

static void put_line(struct buf *b, const struct seal_file *f, bool with_generation) {
    char crc[9] = "-";
    if (f->has_crc32c) {
        snprintf(crc, sizeof(crc), "%08x", f->crc32c);
    }
    buf_put_u64(b, f->size);
    buf_printf(b, " %s ", crc);
    if (with_generation) {
        buf_put_u64(b, f->generation);
        buf_putc(b, ' ');
    }
    buf_put_str(b, f->name);
    buf_putc(b, '\n');
}

bool seal_next(struct str *text, struct seal_file *ret) {
    struct seal_file f = {0};
    uint8_t crc[4];
    if (!text->n) {
        return false;
    }
    f.name = str_cut(text, '\n');
    struct str size = str_cut(&f.name, ' '), sum = str_cut(&f.name, ' ');
    struct str generation = str_cut(&f.name, ' ');
    f.has_crc32c = !str_eqc(sum, "-");
    if (!f.name.n || !str_to_u64(size, &f.size) || !str_to_u64(generation, &f.generation) ||
        (f.has_crc32c && (sum.n != 8 || !enc_unhex(sum, crc)))) {
        return false;
    }
    if (f.has_crc32c) {
        f.crc32c = (uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3];
    }
    *ret = f;
    return true;
}

static EVP_MD_CTX *digest_begin(void) {
    EVP_MD_CTX *d = EVP_MD_CTX_new();
    int ok = d && EVP_DigestInit_ex(d, EVP_sha256(), NULL);
    CHECK(ok);
    return d;
}

static void digest_add(EVP_MD_CTX *d, const struct seal_file *f) {
    auto_buf struct buf line = BUF_INIT(BUF_NO_MAX);
    put_line(&line, f, false);
    int ok = EVP_DigestUpdate(d, line.p, line.n);
    CHECK(ok);
}

static void digest_end(EVP_MD_CTX *d, struct buf *b) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int ok = EVP_DigestFinal_ex(d, sum, &n);
    CHECK(ok);
    EVP_MD_CTX_free(d);
    buf_puts(b, "sha256:");
    enc_hex(b, sum, n);
}

void seal_describe(struct arena *a, struct str text, struct seal_facts *ret) {
    EVP_MD_CTX *d = digest_begin();
    auto_buf struct buf hex = BUF_INIT(256);
    struct seal_file f;
    *ret = (struct seal_facts){.text = text};
    while (seal_next(&text, &f)) {
        ret->files++;
        ret->bytes += f.size;
        digest_add(d, &f);
    }
    digest_end(d, &hex);
    ret->digest = arena_str(a, buf_str(&hex));
}

static bool is_same(const struct seal_file *x, const struct seal_file *y) {
    if (x->size != y->size) {
        return false;
    }
    return x->has_crc32c && y->has_crc32c ? x->crc32c == y->crc32c : x->generation == y->generation;
}

uint64_t seal_compare(struct str before, struct str after,
                      void (*fn)(void *, enum seal_difference, const struct seal_file *,
                                 const struct seal_file *),
                      void *arg) {
    struct seal_file x, y;
    bool has_x = seal_next(&before, &x), has_y = seal_next(&after, &y);
    uint64_t n = 0;
    while (has_x || has_y) {
        int c = !has_x ? 1 : !has_y ? -1 : str_cmp(x.name, y.name);
        if (c < 0) {
            fn(arg, SEAL_REMOVED, &x, NULL);
            n++;
        } else if (c > 0) {
            fn(arg, SEAL_ADDED, NULL, &y);
            n++;
        } else if (!is_same(&x, &y)) {
            fn(arg, SEAL_CHANGED, &x, &y);
            n++;
        }
        if (c <= 0) {
            has_x = seal_next(&before, &x);
        }
        if (c >= 0) {
            has_y = seal_next(&after, &y);
        }
    }
    return n;
}

/* ---- the walk ---- */

static void next_page(struct seal *s);

static void finish(struct seal *s) {
    struct seal_wish w = s->w;
    auto_buf struct buf hex = BUF_INIT(256);
    if (!s->failed && s->files == 0) {
        s->failed = true;
        err_set(&s->err, ERR_INVALID_ARGUMENT, "There are no files under \"%.*s\" to copy.",
                (int)(w.folder.n < 500 ? w.folder.n : 500), w.folder.p);
    }
    digest_end(s->digest, &hex);
    struct seal_facts f = {s->files, s->bytes, buf_str(&hex), buf_str(&s->text)};
    w.cb(w.arg, s->failed ? NULL : &f, s->failed ? &s->err : NULL);
    blob_req_fini(&s->list);
    buf_fini(&s->text);
    arena_free(s->arena);
    free(s);
}

static void fail(struct seal *s, const struct err *err) {
    if (!s->failed) {
        s->failed = true;
        s->err = *err;
    }
}

static void page_done(struct seal *s) {
    for (size_t i = 0; i < s->nr_page; i++) {
        struct seal_file f = s->page[i];
        f.name = str_sub(f.name, s->prefix.n, f.name.n);
        put_line(&s->text, &f, true);
        digest_add(s->digest, &f);
        s->files++;
        s->bytes += f.size;
    }
    if (s->w.progress && !s->is_cancelled) {
        s->w.progress(s->w.arg, s->files, s->bytes);
    }
}

static void look_on(struct seal *s);

static void on_looked(struct blob_req *r, const struct err *err) {
    struct look *l = r->arg;
    struct seal *s = l->s;
    s->nr_looking--;
    if (!err) {
        l->file->size = r->meta->size;
        l->file->generation = r->meta->generation;
        l->file->has_crc32c = r->meta->has_crc32c;
        l->file->crc32c = r->meta->crc32c;
    } else if (err->code == ERR_NOT_FOUND) { /* removed while we looked */
        struct err e;
        err_set(&e, ERR_ABORTED, "gs://%.*s/%.*s was removed meanwhile.", STR_ARG(s->bucket),
                (int)(l->file->name.n < 500 ? l->file->name.n : 500), l->file->name.p);
        fail(s, &e);
    } else {
        fail(s, err);
    }
    blob_req_fini(&l->req);
    free(l);
    look_on(s);
}

static void look(struct seal *s, struct seal_file *f) {
    struct look *l = xcalloc(1, sizeof(*l));
    l->s = s;
    l->file = f;
    blob_req_init_object(&l->req, s->bucket, f->name, on_looked, l);
    l->req.hashes = BLOB_HASH_CRC32C;
    s->nr_looking++;
    blob_object_get(s->b, &l->req);
}

/* Computes what is missing of this page, then takes the next one. */
static void look_on(struct seal *s) {
    while (!s->failed && s->nr_looking < AT_ONCE && s->next_look < s->nr_page) {
        struct seal_file *f = &s->page[s->next_look++];
        if (!f->has_crc32c && !s->w.is_quick) {
            look(s, f);
        }
    }
    if (s->nr_looking > 0) {
        return;
    }
    if (!s->failed) {
        page_done(s);
    }
    if (s->failed || !s->token.n) {
        finish(s);
    } else {
        next_page(s);
    }
}

static void on_listed(struct blob_req *r, const struct err *err) {
    struct seal *s = r->arg;
    struct err e;
    s->nr_page = s->next_look = 0;
    if (err && err->code == ERR_NOT_FOUND) {
        err_set(&e, ERR_INVALID_ARGUMENT,
                "There are no files under \"%.*s\" to copy: the bucket does not exist.",
                (int)(s->w.folder.n < 500 ? s->w.folder.n : 500), s->w.folder.p);
        fail(s, &e);
    } else if (err) {
        fail(s, err);
    }
    if (s->failed) {
        finish(s);
        return;
    }
    s->page = arena_own_array(r->arena, r->nr_items + 1, sizeof(*s->page));
    for (size_t i = 0; i < r->nr_items; i++) {
        const struct blob_meta *m = r->items[i].meta;
        if (r->items[i].is_prefix || str_ends(m->name, STR("/"))) {
            continue; /* what some tools leave to mark a folder */
        }
        s->page[s->nr_page++] = (struct seal_file){.name = m->name,
                                                   .size = m->size,
                                                   .generation = m->generation,
                                                   .has_crc32c = m->has_crc32c,
                                                   .crc32c = m->crc32c};
    }
    s->token = arena_str(s->arena, r->next_page);
    if (s->files + s->nr_page > limits.max_model_files) {
        limits_hit(&limits.max_model_files);
        err_set(&e, ERR_RESOURCE_EXHAUSTED,
                "There are more than max_model_files (%llu) files under \"%.*s\".",
                (unsigned long long)limits.max_model_files,
                (int)(s->w.folder.n < 500 ? s->w.folder.n : 500), s->w.folder.p);
        fail(s, &e);
        finish(s);
        return;
    }
    look_on(s);
}

static void next_page(struct seal *s) {
    struct str token = s->token;
    if (s->list.arena) {
        blob_req_fini(&s->list);
    }
    blob_req_init(&s->list);
    s->list.bucket = s->bucket;
    s->list.prefix = s->prefix;
    s->list.page_token = token;
    s->list.max = PAGE;
    s->list.cb = on_listed;
    s->list.arg = s;
    blob_object_list(s->b, &s->list);
}

struct seal *seal_begin(struct blob *b, const struct seal_wish *w) {
    struct seal *s = xcalloc(1, sizeof(*s));
    struct err err;
    s->b = b;
    s->w = *w;
    s->arena = arena_new(ARENA_NO_MAX);
    s->w.folder = arena_str(s->arena, w->folder);
    buf_init(&s->text, BUF_NO_MAX); /* bounded by max_model_files names */
    s->digest = digest_begin();
    if (seal_folder(s->arena, s->w.folder, "artifact_uri", &s->bucket, &s->prefix, &err)) {
        fail(s, &err);
        s->bucket = STR("x"); /* answered by the list's callback, as everything is */
    }
    next_page(s);
    return s;
}

void seal_cancel(struct seal *s) {
    struct err err;
    s->is_cancelled = true;
    err_set(&err, ERR_CANCELLED, "The operation was cancelled.");
    fail(s, &err);
}
