/* cusp storage: gs:// URIs on this server. */
#include "cli/transfer.h"

#include <errno.h>
#include <fts.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static char *without_slash(const char *path) {
    char *s = xstrdup(path);
    for (size_t n = strlen(s); n > 1 && s[n - 1] == '/'; n--) {
        s[n - 1] = 0;
    }
    return s;
}

/* ---- cp */

/* The files below a directory; links are followed, circles are not. */
static int add_dir(struct transfers *t, const char *src, const char *dst, struct err *err) {
    auto_free char *root = without_slash(src);
    auto_free char *below = uri_target(dst, path_base(root));
    char *roots[] = {root, NULL};
    FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    FTSENT *e;
    int rc = fts ? 0 : err_sys(err, errno, "open %s", src);
    while (rc == 0 && (e = fts_read(fts))) {
        if (e->fts_info == FTS_F) {
            auto_free char *to = xasprintf("%s%s", below, e->fts_path + strlen(root));
            transfers_add(t, TRANSFER_UPLOAD, e->fts_path, to, (uint64_t)e->fts_statp->st_size,
                          NULL);
        } else if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS) {
            rc = err_sys(err, e->fts_errno, "read %s", e->fts_path);
        } else if (e->fts_info == FTS_DC || e->fts_info == FTS_SLNONE) {
            fprintf(stderr, "cusp: %s leads nowhere: skipped\n", e->fts_path);
        }
    }
    if (fts) {
        fts_close(fts);
    }
    return rc;
}

int storage_parents(char *path, struct err *err) {
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        int rc = mkdir(path, 0755);
        *p = '/';
        if (rc && errno != EEXIST) {
            return err_sys(err, errno, "make the folders of %s", path);
        }
    }
    return 0;
}

struct tree {
    struct transfers *set;
    const char *bucket, *folder, *to; /* to: NULL for a removal */
    size_t cut, seen;                 /* bytes of a name that do not appear below `to` */
};

static int add_one(void *arg, const char *name, json_t *obj, struct err *err) {
    struct tree *t = arg;
    struct object_facts f;
    auto_free char *src = xasprintf("gs://%s/%s", t->bucket, name);
    if (!name_is_below(name, t->folder)) {
        return 0;
    }
    if (!t->to) {
        t->seen++;
        transfers_add(t->set, TRANSFER_REMOVE, src, NULL, 0, NULL);
        return 0;
    }
    if (name[strlen(name) - 1] == '/') {
        return 0; /* a folder's own marker */
    }
    const char *relative = name + t->cut;
    auto_free char *dst = xasprintf("%s/%s", t->to, relative);
    object_facts_of(obj, &f);
    t->seen++;
    if (uri_is_gs(t->to)) {
        transfers_add(t->set, TRANSFER_COPY, src, dst, 0, NULL);
        return 0;
    }
    if (!name_is_inside(relative)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s cannot be a file name here", src);
    }
    transfers_add(t->set, TRANSFER_DOWNLOAD, src, dst, f.size, &f);
    return storage_parents(dst, err);
}

static int add_tree(struct transfers *set, const char *src, const char *dst, struct err *err) {
    auto_uri struct uri u = {0};
    auto_free char *to = dst ? without_slash(dst) : NULL;
    if (uri_parse(src, &u, err)) {
        return -1;
    }
    struct tree t = {.set = set, .bucket = u.bucket, .folder = u.raw_name, .to = to};
    for (size_t i = 0; u.raw_name[i] && u.raw_name[i + 1]; i++) { /* the folder's own name stays */
        t.cut = u.raw_name[i] == '/' ? i + 1 : t.cut;
    }
    if (objects_each(set->cli, &u, true, add_one, &t, err)) {
        return -1;
    }
    return t.seen || (!dst && !*u.raw_name)
               ? 0
               : err_set(err, ERR_NOT_FOUND, "%s matched no objects", src);
}

static uint64_t size_of(const char *file) {
    struct stat st;
    return stat(file, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static int add_cp(struct transfers *t, const char *src, const char *dst, bool tree,
                  struct err *err) {
    if (!uri_is_gs(src) && !uri_is_gs(dst)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "neither %s nor %s is a gs:// URI", src, dst);
    }
    if (tree && uri_is_gs(src)) {
        return add_tree(t, src, dst, err);
    }
    if (tree && is_dir(src)) {
        return add_dir(t, src, dst, err);
    }
    auto_free char *in = !uri_is_gs(dst) && is_dir(dst) ? xasprintf("%s/", dst) : xstrdup(dst);
    auto_free char *to = uri_target(in, path_base(src));
    transfers_add(t,
                  !uri_is_gs(dst)  ? TRANSFER_DOWNLOAD
                  : uri_is_gs(src) ? TRANSFER_COPY
                                   : TRANSFER_UPLOAD,
                  src, to, uri_is_gs(src) ? 0 : size_of(src), NULL);
    return 0;
}

int storage_threads(const struct args *a, unsigned *ret, struct err *err) {
    const char *text = args_get(a, "--parallel");
    uint64_t n = 0;
    if (text && (!str_to_u64(str_of(text), &n) || !n || n > 64)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--parallel is 1 to 64, not \"%s\"", text);
    }
    *ret = (unsigned)n;
    return 0;
}

static int cp(const struct cli *c, const struct args *a, struct err *err) {
    auto_transfers struct transfers t = {.cli = c};
    if (a->nr_words < 2) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp storage cp [-r] SRC… DST");
    }
    for (size_t i = 0; i < a->nr_words; i++) {
        if (strcmp(a->words[i], "-") == 0) { /* what gcloud takes for a pipe */
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "cp copies files (./- for one of that name); to standard output: cusp "
                           "storage cat gs://BUCKET/NAME");
        }
    }
    const char *dst = a->words[a->nr_words - 1];
    auto_free char *as_folder = *dst ? uri_target(dst, "") : NULL;
    if (!*dst || (a->nr_words > 2 && !is_dir(dst) && as_folder[strlen(as_folder) - 1] != '/')) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "several files need a folder as destination: end \"%s\" in /", dst);
    }
    if (storage_threads(a, &t.threads, err)) {
        return -1;
    }
    for (size_t i = 0; i + 1 < a->nr_words; i++) {
        if (add_cp(&t, a->words[i], dst, args_on(a, "-r"), err)) {
            return -1;
        }
    }
    return transfers_run(&t, err);
}

/* ---- rm, cat */

static int rm(const struct cli *c, const struct args *a, struct err *err) {
    auto_transfers struct transfers t = {.cli = c};
    if (!a->nr_words) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp storage rm [-r] gs://BUCKET/NAME…");
    }
    if (storage_threads(a, &t.threads, err)) {
        return -1;
    }
    for (size_t i = 0; i < a->nr_words; i++) {
        auto_uri struct uri u = {0};
        if (uri_parse(a->words[i], &u, err)) {
            return -1;
        }
        if (args_on(a, "-r")) {
            if (add_tree(&t, a->words[i], NULL, err)) {
                return -1;
            }
        } else if (!*u.raw_name) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s is a bucket: rm -r empties it",
                           a->words[i]);
        } else {
            transfers_add(&t, TRANSFER_REMOVE, a->words[i], NULL, 0, NULL);
        }
    }
    return t.v.n ? transfers_run(&t, err) : 0;
}

static int cat(const struct cli *c, const struct args *a, struct err *err) {
    if (!a->nr_words) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp storage cat gs://BUCKET/NAME…");
    }
    for (size_t i = 0; i < a->nr_words; i++) {
        if (object_to_fd(c, a->words[i], STDOUT_FILENO, "standard output", err)) {
            return -1;
        }
    }
    return 0;
}

/* ---- ls, du */

static int list_buckets(const struct cli *c, struct err *err) {
    auto_free char *project = http_escape(str_of(c->project));
    auto_free char *path = xasprintf("/storage/v1/b?project=%s", project);
    json_t *j, *b;
    size_t i;
    if (http_json(c, "GET", path, NULL, &j, err)) {
        return -1;
    }
    if (c->json) {
        out_json(j);
    } else {
        json_array_foreach(json_object_get(j, "items"), i, b) {
            printf("gs://%s/\n", json_string_value(json_object_get(b, "name")));
        }
    }
    json_decref(j);
    return 0;
}

struct listing {
    const char *bucket;
    bool detail;
    json_t *all;
    size_t seen;
    uint64_t bytes;
};

static int list_one(void *arg, const char *name, json_t *obj, struct err *err) {
    struct listing *l = arg;
    struct object_facts f;
    object_facts_of(obj, &f);
    l->seen++;
    l->bytes += f.size;
    if (l->all) {
        if (obj) {
            json_array_append(l->all, obj);
        } else {
            json_array_append_new(l->all, json_pack("{s:s}", "prefix", name));
        }
    } else if (l->detail && obj) {
        printf("%12llu  %s  gs://%s/%s\n", (unsigned long long)f.size,
               json_string_value(json_object_get(obj, "updated")), l->bucket, name);
    } else {
        printf("%sgs://%s/%s\n", l->detail ? "                                        " : "",
               l->bucket, name);
    }
    return 0;
}

static int ls(const struct cli *c, const struct args *a, struct err *err) {
    if (!a->nr_words) {
        return list_buckets(c, err);
    }
    auto_uri struct uri u = {0};
    if (uri_parse(a->words[0], &u, err)) {
        return -1;
    }
    struct listing l = {u.bucket, args_on(a, "-l"), c->json ? json_array() : NULL, 0, 0};
    int rc = objects_each(c, &u, args_on(a, "-r"), list_one, &l, err);
    if (l.all) {
        if (rc == 0) {
            out_json(l.all);
        }
        json_decref(l.all);
    }
    if (rc == 0 && !l.seen && *u.raw_name) {
        return err_set(err, ERR_NOT_FOUND, "%s matched no objects", a->words[0]);
    }
    if (rc == 0 && l.detail && !l.all && !c->quiet) {
        auto_buf struct buf b = BUF_INIT(64);
        bytes_text(&b, l.bytes);
        printf("%12llu  total: %zu entries, %s\n", (unsigned long long)l.bytes, l.seen,
               buf_cstr(&b));
    }
    return rc;
}

/* What lies directly below the folder, with all that is in it. */
struct pile {
    const char *folder;
    VEC_OF(struct child {
        char *name;
        uint64_t bytes;
        size_t objects;
    })
    v;
    uint64_t bytes;
    size_t objects;
};

static int weigh(void *arg, const char *name, json_t *obj, struct err *err) {
    struct pile *h = arg;
    struct object_facts f;
    size_t from = strlen(h->folder);
    if (!name_is_below(name, h->folder)) {
        return 0;
    }
    object_facts_of(obj, &f);
    from += name[from] == '/';
    size_t n = from + strcspn(name + from, "/");
    n += name[n] == '/';
    struct child *last = h->v.n ? &h->v.p[h->v.n - 1] : NULL; /* lists are in order of names */
    if (!last || strlen(last->name) != n || strncmp(last->name, name, n) != 0) {
        vec_push(&h->v, ((struct child){.name = xstrndup(name, n)}));
        last = &h->v.p[h->v.n - 1];
    }
    last->bytes += f.size;
    last->objects++;
    h->bytes += f.size;
    h->objects++;
    return 0;
}

static void du_row(struct table *t, uint64_t bytes, size_t objects, const char *what) {
    auto_buf struct buf b = BUF_INIT(64);
    char nr[24];
    bytes_text(&b, bytes);
    snprintf(nr, sizeof(nr), "%zu", objects);
    table_row(t, (const char *const[]){buf_cstr(&b), nr, what});
}

static int du(const struct cli *c, const struct args *a, struct err *err) {
    static const char *const heads[] = {"SIZE", "OBJECTS", "WHERE"};
    if (a->nr_words != 1) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp storage du [-s] gs://BUCKET[/PREFIX]");
    }
    auto_uri struct uri u = {0};
    struct pile h = {0};
    if (uri_parse(a->words[0], &u, err)) {
        return -1;
    }
    h.folder = u.raw_name;
    int rc = objects_each(c, &u, true, weigh, &h, err);
    if (rc == 0 && !h.objects && *u.raw_name) {
        rc = err_set(err, ERR_NOT_FOUND, "%s matched no objects", a->words[0]);
    }
    if (rc == 0 && c->json) {
        json_t *all = json_array();
        for (size_t i = 0; i < h.v.n && !args_on(a, "-s"); i++) {
            json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "name", h.v.p[i].name, "bytes",
                                                 (json_int_t)h.v.p[i].bytes, "objects",
                                                 (json_int_t)h.v.p[i].objects));
        }
        json_t *j = json_pack("{s:s, s:I, s:I, s:o}", "uri", a->words[0], "bytes",
                              (json_int_t)h.bytes, "objects", (json_int_t)h.objects, "below", all);
        out_json(j);
        json_decref(j);
    } else if (rc == 0) {
        struct table *t = table_new(NR_OF(heads), heads);
        for (size_t i = 0; i < h.v.n && !args_on(a, "-s"); i++) {
            auto_free char *uri = xasprintf("gs://%s/%s", u.bucket, h.v.p[i].name);
            du_row(t, h.v.p[i].bytes, h.v.p[i].objects, uri);
        }
        du_row(t, h.bytes, h.objects, a->words[0]);
        table_print(t, stdout);
    }
    for (size_t i = 0; i < h.v.n; i++) {
        free(h.v.p[i].name);
    }
    vec_fini(&h.v);
    return rc;
}

/* ---- buckets */

static int buckets(const struct cli *c, const struct args *a, struct err *err) {
    bool create = a->nr_words == 2 && strcmp(a->words[0], "create") == 0;
    if (a->nr_words != 2 || (!create && strcmp(a->words[0], "delete") != 0)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp storage buckets create|delete gs://BUCKET");
    }
    auto_uri struct uri u = {0};
    if (uri_parse(a->words[1], &u, err)) {
        return -1;
    }
    if (*u.raw_name) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" is not a bucket", a->words[1]);
    }
    json_t *body = create ? json_pack("{s:s,s:s}", "name", u.bucket, "location", c->region) : NULL;
    json_t *reply = NULL;
    auto_free char *project = http_escape(str_of(c->project));
    auto_free char *path = create ? xasprintf("/storage/v1/b?project=%s", project)
                                  : xasprintf("/storage/v1/b/%s", u.bucket);
    int rc = http_json(c, create ? "POST" : "DELETE", path, body, &reply, err);
    if (rc == 0 && c->json && create) {
        out_json(reply);
    } else if (rc == 0 && !c->quiet) {
        fprintf(stderr, "%s gs://%s/\n", create ? "Created" : "Deleted", u.bucket);
    }
    json_decref(body);
    json_decref(reply);
    return rc;
}

int cmd_storage(const struct cli *c, int argc, char **argv, struct err *err) {
    enum { L = 1, R = 2, P = 4, S = 8, D = 16, N = 32, SIGN = 64 | 128 | 256 };
    static const struct {
        const char *name;
        unsigned flags;
        int (*run)(const struct cli *, const struct args *, struct err *);
    } verbs[] = {{"cp", R | P, cp},
                 {"ls", L | R, ls},
                 {"cat", 0, cat},
                 {"rm", R | P, rm},
                 {"du", S, du},
                 {"rsync", R | P | D | N, storage_rsync},
                 {"sign-url", SIGN, storage_sign_url},
                 {"buckets", 0, buckets}};
    static const struct flag all[] = {{.name = "-l", .is_bool = true},
                                      {.name = "-r", .is_bool = true},
                                      {.name = "--parallel"},
                                      {.name = "-s", .is_bool = true},
                                      {.name = "--delete", .is_bool = true},
                                      {.name = "--dry-run", .is_bool = true},
                                      {.name = "--private-key-file"},
                                      {.name = "--duration"},
                                      {.name = "--http-verb"}};
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        struct flag flags[NR_OF(all)];
        size_t nr = 0;
        if (strcmp(argv[0], verbs[i].name) != 0) {
            continue;
        }
        for (size_t k = 0; k < NR_OF(all); k++) {
            if (verbs[i].flags & 1u << k) {
                flags[nr++] = all[k];
            }
        }
        auto_args struct args a = {flags, nr, NULL, 0};
        return args_parse(&a, argc - 1, argv + 1, err) ? -1 : verbs[i].run(c, &a, err);
    }
    return no_verb("storage", argv[0], err);
}
