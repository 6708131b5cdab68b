/* Facts about an object: the record in the store, and what a file alone can say. */
#include "blob/blob_int.h"

#include "base/enc.h"

int64_t meta_ctime_ns(const struct stat *st) {
    return (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

static int64_t mtime_ns(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static usec_t usec_of(struct timespec t) {
    return t.tv_sec < 0 ? 0 : (usec_t)t.tv_sec * USEC_PER_SEC + (usec_t)t.tv_nsec / 1000;
}

static void put_str(struct buf *b, const char *key, struct str v) {
    if (v.n) {
        rec_put(b, key, v);
    }
}

static void put_hex(struct buf *b, const char *key, const void *p, size_t n) {
    auto_buf struct buf hex = BUF_INIT(64);
    enc_hex(&hex, p, n);
    rec_put(b, key, buf_str(&hex));
}

static void put_custom(struct buf *b, const struct blob_pair *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        rec_put(b, "mk", p[i].key);
        rec_put(b, "mv", p[i].value);
    }
}

static void get_custom(struct arena *a, const struct rec *r, struct blob_pair **ret,
                       size_t *ret_n) {
    struct str s;
    size_t n = 0, it = 0, vit = 0;
    while (rec_next(r, "mk", &it, &s)) {
        n++;
    }
    *ret = n ? arena_calloc(a, n, sizeof(**ret)) : NULL;
    *ret_n = 0;
    it = 0;
    while (rec_next(r, "mk", &it, &s)) {
        struct blob_pair *p = &(*ret)[(*ret_n)++];
        p->key = s;
        if (!rec_next(r, "mv", &vit, &p->value)) {
            p->value = STR("");
        }
    }
}

static struct str get_str(const struct rec *r, const char *key) {
    struct str s = rec_get(r, key);
    return s.p ? s : STR("");
}

/* The text facts travel together in both records. */
#define TEXT_FACTS(X)                                                                              \
    X(content_type, "ctype")                                                                       \
    X(content_encoding, "cenc")                                                                    \
    X(cache_control, "cache")                                                                      \
    X(content_disposition, "cdisp")                                                                \
    X(content_language, "clang")                                                                   \
    X(storage_class, "class")                                                                      \
    X(doc, "doc")

static void encode(struct buf *b, const struct blob_meta *m) {
    rec_put_u64(b, "gen", m->generation);
    rec_put_u64(b, "metagen", m->metageneration);
    rec_put_u64(b, "size", m->size);
    rec_put_u64(b, "ino", m->ino);
    if (m->ctime_ns) {
        rec_put_i64(b, "ctime", m->ctime_ns);
    } else {
        rec_put_i64(b, "mtime", m->mtime_ns);
    }
    rec_put_u64(b, "created", m->time_created);
    rec_put_u64(b, "updated", m->updated);
    if (m->components) {
        rec_put_u64(b, "components", m->components);
    }
    if (m->has_crc32c) {
        rec_put_u64(b, "crc32c", m->crc32c);
    }
    if (m->has_md5) {
        put_hex(b, "md5", m->md5, sizeof(m->md5));
    }
#define X(f, key) put_str(b, key, m->f);
    TEXT_FACTS(X)
#undef X
    put_custom(b, m->custom, m->nr_custom);
}

void meta_encode(struct buf *b, const struct blob_meta *m) {
    rec_begin(b);
    encode(b, m);
}

void meta_encode_coming(struct buf *b, const struct blob_meta *m, const struct blob_meta *was) {
    meta_encode(b, m);
    if (was) {
        auto_buf struct buf old = BUF_INIT(BUF_NO_MAX);
        meta_encode(&old, was);
        rec_put(b, "was", buf_str(&old));
    }
}

bool meta_decode(struct arena *a, struct str row, struct blob_meta *ret) {
    struct rec r;
    if (!row.p || rec_parse(a, row, &r, NULL) < 0) {
        return false;
    }
    struct blob_meta m = {
        .generation = rec_get_u64(&r, "gen", 0),
        .metageneration = rec_get_u64(&r, "metagen", 1),
        .size = rec_get_u64(&r, "size", 0),
        .ino = rec_get_u64(&r, "ino", 0),
        .ctime_ns = rec_get_i64(&r, "ctime", 0),
        .mtime_ns = rec_get_i64(&r, "mtime", 0),
        .time_created = rec_get_u64(&r, "created", 0),
        .updated = rec_get_u64(&r, "updated", 0),
        .components = rec_get_u64(&r, "components", 0),
    };
    struct str crc = rec_get(&r, "crc32c"), md5 = rec_get(&r, "md5");
    m.has_crc32c = crc.p != NULL;
    m.crc32c = (uint32_t)rec_get_u64(&r, "crc32c", 0);
    m.has_md5 = md5.p && md5.n == 32 && enc_unhex(md5, m.md5);
#define X(f, key) m.f = get_str(&r, key);
    TEXT_FACTS(X)
#undef X
    get_custom(a, &r, &m.custom, &m.nr_custom);
    *ret = m;
    return true;
}

static bool is_same_file(const struct blob_meta *m, const struct blob_meta *file) {
    return m->ino == file->ino && m->size == file->size &&
           (m->ctime_ns ? m->ctime_ns == file->ctime_ns : m->mtime_ns == file->mtime_ns);
}

bool meta_matches(const struct blob_meta *m, const struct stat *st) {
    struct blob_meta file;
    meta_from_file(m->bucket, STR(""), st, &file);
    return is_same_file(m, &file);
}

void meta_from_file(struct str bucket, struct str name, const struct stat *st,
                    struct blob_meta *ret) {
    *ret = (struct blob_meta){
        .bucket = bucket,
        .name = name,
        .generation = usec_of(st->st_ctim),
        .metageneration = 1,
        .size = (uint64_t)st->st_size,
        .time_created = usec_of(st->st_ctim),
        .updated = usec_of(st->st_ctim),
        .content_type = str_of(name_guess_type(name)),
        .storage_class = STR("STANDARD"),
        .ino = st->st_ino,
        .ctime_ns = meta_ctime_ns(st),
        .mtime_ns = mtime_ns(st),
    };
}

enum meta_fit meta_merge(struct arena *a, struct str row, struct blob_meta *m) {
    struct blob_meta last, was;
    struct rec rec;
    enum meta_fit fit = META_FILE;
    if (!meta_decode(a, row, &last)) {
        return META_FILE;
    }
    if (is_same_file(&last, m)) {
        fit = META_ROW;
    } else if (rec_parse(a, row, &rec, NULL) == 0 && meta_decode(a, rec_get(&rec, "was"), &was) &&
               is_same_file(&was, m)) {
        fit = META_WAS;
        last = was;
    }
    if (fit == META_FILE) {
        m->generation = last.generation >= m->generation ? last.generation + 1 : m->generation;
        return META_FILE;
    }
    last.bucket = m->bucket;
    last.name = m->name;
    *m = last;
    return fit;
}

enum meta_fit meta_pick(struct arena *a, struct str row, struct str bucket, struct str name,
                        const struct stat *st, struct blob_meta *ret) {
    meta_from_file(bucket, name, st, ret);
    return meta_merge(a, row, ret);
}

uint64_t meta_next_generation(struct arena *a, struct str row, const struct blob_meta *cur) {
    struct blob_meta last;
    uint64_t g = time_wall();
    if (meta_decode(a, row, &last) && last.generation >= g) {
        g = last.generation + 1;
    }
    return cur && cur->generation >= g ? cur->generation + 1 : g;
}

int meta_check_precond(const struct blob_precond *p, const struct blob_meta *cur, struct err *err) {
    uint64_t gen = cur ? cur->generation : 0, metagen = cur ? cur->metageneration : 0;
    const char *which = p->has_gen && p->gen != gen               ? "ifGenerationMatch"
                        : p->has_not_gen && p->not_gen == gen     ? "ifGenerationNotMatch"
                        : p->has_metagen && p->metagen != metagen ? "ifMetagenerationMatch"
                        : p->has_not_metagen && p->not_metagen == metagen
                            ? "ifMetagenerationNotMatch"
                            : NULL;
    if (which) {
        return err_field(err, ERR_FAILED_PRECONDITION, which,
                         "At least one of the pre-conditions you specified did not hold: %s.",
                         which);
    }
    return 0;
}

void meta_encode_put(struct buf *b, const struct blob_put *p) {
    rec_put(b, "bucket", p->bucket);
    rec_put(b, "name", p->name);
#define X(f, key) put_str(b, key, p->f);
    TEXT_FACTS(X)
#undef X
    put_custom(b, p->custom, p->nr_custom);
    if (p->pre.has_gen) {
        rec_put_u64(b, "if_gen", p->pre.gen);
    }
    if (p->pre.has_not_gen) {
        rec_put_u64(b, "if_not_gen", p->pre.not_gen);
    }
    if (p->pre.has_metagen) {
        rec_put_u64(b, "if_metagen", p->pre.metagen);
    }
    if (p->pre.has_not_metagen) {
        rec_put_u64(b, "if_not_metagen", p->pre.not_metagen);
    }
    if (p->has_expect_crc32c) {
        rec_put_u64(b, "expect_crc32c", p->expect_crc32c);
    }
    if (p->has_expect_md5) {
        put_hex(b, "expect_md5", p->expect_md5, sizeof(p->expect_md5));
    }
    if (p->components) {
        rec_put_u64(b, "components", p->components);
    }
    rec_put_i64(b, "size", p->size);
}

void meta_decode_put(struct arena *a, const struct rec *r, struct blob_put *ret) {
    *ret = (struct blob_put){.bucket = get_str(r, "bucket"), .name = get_str(r, "name")};
#define X(f, key) ret->f = get_str(r, key);
    TEXT_FACTS(X)
#undef X
    struct blob_pair *custom;
    get_custom(a, r, &custom, &ret->nr_custom);
    ret->custom = custom;
    ret->pre.has_gen = rec_get(r, "if_gen").p != NULL;
    ret->pre.gen = rec_get_u64(r, "if_gen", 0);
    ret->pre.has_not_gen = rec_get(r, "if_not_gen").p != NULL;
    ret->pre.not_gen = rec_get_u64(r, "if_not_gen", 0);
    ret->pre.has_metagen = rec_get(r, "if_metagen").p != NULL;
    ret->pre.metagen = rec_get_u64(r, "if_metagen", 0);
    ret->pre.has_not_metagen = rec_get(r, "if_not_metagen").p != NULL;
    ret->pre.not_metagen = rec_get_u64(r, "if_not_metagen", 0);
    ret->has_expect_crc32c = rec_get(r, "expect_crc32c").p != NULL;
    ret->expect_crc32c = (uint32_t)rec_get_u64(r, "expect_crc32c", 0);
    struct str md5 = rec_get(r, "expect_md5");
    ret->has_expect_md5 = md5.p && md5.n == 32 && enc_unhex(md5, ret->expect_md5);
    ret->components = rec_get_u64(r, "components", 0);
    ret->size = rec_get_i64(r, "size", -1);
}

void meta_copy_put(struct arena *a, const struct blob_put *in, struct blob_put *ret) {
    *ret = *in;
    ret->bucket = arena_str(a, in->bucket);
    ret->name = arena_str(a, in->name);
#define X(f, key) ret->f = arena_str(a, in->f);
    TEXT_FACTS(X)
#undef X
    struct blob_pair *custom =
        in->nr_custom ? arena_calloc(a, in->nr_custom, sizeof(*custom)) : NULL;
    for (size_t i = 0; i < in->nr_custom; i++) {
        custom[i] =
            (struct blob_pair){arena_str(a, in->custom[i].key), arena_str(a, in->custom[i].value)};
    }
    ret->custom = custom;
}
