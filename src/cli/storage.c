/* cusp storage: gs:// URIs on this server. */
#include "cli/cli.h"

#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>
#include <unistd.h>

struct uri {
    char *bucket, *name; /* percent-encoded; name "" for a bucket */
    struct str raw_name;
};

static int parse_uri(const char *text, struct uri *ret, struct err *err) {
    struct str rest = str_of(text);
    if (!str_starts(rest, STR("gs://")) || rest.n == 5) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" is not gs://BUCKET/NAME", text);
    }
    rest = str_sub(rest, 5, rest.n);
    struct str bucket = str_cut(&rest, '/');
    *ret = (struct uri){http_escape(bucket), http_escape(rest), rest};
    return 0;
}

static void uri_fini(struct uri *u) {
    free(u->bucket);
    free(u->name);
}
#define auto_uri __attribute__((cleanup(uri_fini)))

static bool is_gs(const char *s) {
    return strncmp(s, "gs://", 5) == 0;
}

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Where a file called name goes: below dst when that is a folder (ends in /) or a bucket. Owned. */
static char *uri_target(const char *dst, const char *name) {
    bool slash = dst[strlen(dst) - 1] == '/', bucket = is_gs(dst) && !strchr(dst + 5, '/');
    return slash || bucket ? xasprintf("%s%s%s", dst, slash ? "" : "/", name) : xstrdup(dst);
}

static int upload(const struct cli *c, const char *src, const char *dst, struct err *err) {
    auto_uri struct uri u = {0};
    struct stat st;
    struct http_reply r;
    auto_close int fd = open(src, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        return err_sys(err, errno, "open %s", src);
    }
    if (S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is a directory: use cp -r", src);
    }
    if (parse_uri(dst, &u, err)) {
        return -1;
    }
    auto_free char *path =
        xasprintf("/upload/storage/v1/b/%s/o?uploadType=media&name=%s", u.bucket, u.name);
    uint64_t size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UPLOAD_UNKNOWN;
    if (http_upload(c, "POST", path, "application/octet-stream", fd, size, base_of(src), &r, err)) {
        return -1;
    }
    http_reply_fini(&r);
    if (!c->quiet) {
        fprintf(stderr, "%s -> %s\n", src, dst);
    }
    return 0;
}

/* The files below a directory; links are followed, circles are not. */
static int upload_dir(const struct cli *c, const char *src, const char *dst, struct err *err) {
    auto_free char *root = xstrdup(src);
    while (strlen(root) > 1 && root[strlen(root) - 1] == '/') {
        root[strlen(root) - 1] = 0;
    }
    auto_free char *below = uri_target(dst, base_of(root));
    char *roots[] = {root, NULL};
    FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    FTSENT *e;
    int rc = fts ? 0 : err_sys(err, errno, "open %s", src);
    while (rc == 0 && (e = fts_read(fts))) {
        if (e->fts_info == FTS_F) {
            auto_free char *to = xasprintf("%s%s", below, e->fts_path + strlen(root));
            rc = upload(c, e->fts_path, to, err);
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

struct sink {
    int fd, failed; /* failed: errno of write */
};

static bool to_fd(void *arg, struct str bytes) {
    struct sink *s = arg;
    while (bytes.n) {
        ssize_t n = write(s->fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            s->failed = n < 0 ? errno : EIO;
            return false;
        }
        bytes = str_sub(bytes, (size_t)n, bytes.n);
    }
    return true;
}

static int download_to(const struct cli *c, const char *src, int fd, const char *what,
                       struct err *err) {
    auto_uri struct uri u = {0};
    struct sink s = {fd, 0};
    if (parse_uri(src, &u, err)) {
        return -1;
    }
    if (!u.raw_name.n) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" names a bucket, not an object", src);
    }
    auto_free char *path = xasprintf("/download/storage/v1/b/%s/o/%s?alt=media", u.bucket, u.name);
    if (http_stream(c, path, to_fd, &s, err)) {
        return -1;
    }
    return s.failed ? err_sys(err, s.failed, "write %s", what) : 0;
}

static bool is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The file appears whole or not at all. */
static int download(const struct cli *c, const char *src, const char *file, struct err *err) {
    auto_free char *tmp = xasprintf("%s.cusp-partial", file);
    auto_close int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_sys(err, errno, "open %s", tmp);
    }
    int rc = download_to(c, src, fd, file, err);
    if (rc == 0 && rename(tmp, file)) {
        rc = err_sys(err, errno, "rename %s", file);
    }
    if (rc) {
        unlink(tmp);
        return -1;
    }
    if (!c->quiet) {
        fprintf(stderr, "%s -> %s\n", src, file);
    }
    return 0;
}

/* Through a temporary file here, for a server that has no copyTo. */
static int copy_through(const struct cli *c, const char *src, const struct uri *dst,
                        struct err *err) {
    struct http_reply r;
    FILE *f = tmpfile();
    if (!f) {
        return err_sys(err, errno, "make a temporary file");
    }
    auto_free char *path =
        xasprintf("/upload/storage/v1/b/%s/o?uploadType=media&name=%s", dst->bucket, dst->name);
    int rc = download_to(c, src, fileno(f), "a temporary file", err);
    off_t size = rc ? 0 : lseek(fileno(f), 0, SEEK_END);
    if (rc == 0 && (size < 0 || lseek(fileno(f), 0, SEEK_SET))) {
        rc = err_sys(err, errno, "rewind a temporary file");
    }
    if (rc == 0 && (rc = http_upload(c, "POST", path, "application/octet-stream", fileno(f),
                                     (uint64_t)size, base_of(src), &r, err)) == 0) {
        http_reply_fini(&r);
    }
    fclose(f);
    return rc;
}

static int copy(const struct cli *c, const char *src, const char *dst, struct err *err) {
    auto_uri struct uri a = {0}, b = {0};
    struct err no_copy = {0};
    if (parse_uri(src, &a, err) || parse_uri(dst, &b, err)) {
        return -1;
    }
    if (!a.raw_name.n) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is a bucket: use cp -r", src);
    }
    auto_free char *path =
        xasprintf("/storage/v1/b/%s/o/%s/copyTo/b/%s/o/%s", a.bucket, a.name, b.bucket, b.name);
    json_t *body = json_object();
    int rc = http_json(c, "POST", path, body, NULL, &no_copy);
    json_decref(body);
    if (rc && no_copy.code == ERR_UNIMPLEMENTED) {
        rc = copy_through(c, src, &b, err);
    } else if (rc) {
        *err = no_copy;
    }
    if (rc == 0 && !c->quiet) {
        fprintf(stderr, "%s -> %s\n", src, dst);
    }
    return rc;
}

/* Calls fn for every object below the prefix; prefixes (with delimiter) come with obj NULL. */
static int each_object(const struct cli *c, const struct uri *u, bool recursive,
                       int (*fn)(void *arg, const char *name, json_t *obj, struct err *err),
                       void *arg, struct err *err) {
    auto_free char *token = xstrdup("");
    do {
        json_t *j, *o;
        size_t i;
        int rc = 0;
        auto_free char *path =
            xasprintf("/storage/v1/b/%s/o?prefix=%s%s%s%s", u->bucket, u->name,
                      recursive ? "" : "&delimiter=%2F", *token ? "&pageToken=" : "", token);
        if (http_json(c, "GET", path, NULL, &j, err)) {
            return -1;
        }
        json_array_foreach(json_object_get(j, "prefixes"), i, o) {
            rc = rc ? rc : fn(arg, json_string_value(o), NULL, err);
        }
        json_array_foreach(json_object_get(j, "items"), i, o) {
            rc = rc ? rc : fn(arg, json_string_value(json_object_get(o, "name")), o, err);
        }
        const char *next = json_string_value(json_object_get(j, "nextPageToken"));
        free(token);
        token = http_escape(str_of(next ? next : ""));
        json_decref(j);
        if (rc) {
            return rc;
        }
    } while (*token);
    return 0;
}

/* name itself, or something in the folder called name. "" holds everything. */
static bool is_below(const char *name, struct str folder) {
    struct str s = str_of(name);
    return !folder.n || str_eq(s, folder) ||
           (str_starts(s, folder) && (str_ends(folder, STR("/")) || s.p[folder.n] == '/'));
}

struct tree {
    const struct cli *cli;
    const char *bucket, *to;
    struct str folder;
    size_t cut, seen; /* bytes of a name that do not appear below `to` */
};

/* Nothing the server says makes us write outside the folder given. */
static bool is_inside(const char *relative) {
    struct str rest = str_of(relative);
    while (rest.p) {
        struct str part = str_cut(&rest, '/');
        if (!part.n || str_eqc(part, ".") || str_eqc(part, "..")) {
            return false;
        }
    }
    return true;
}

static int make_parents(char *path, struct err *err) {
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

static int fetch_one(void *arg, const char *name, json_t *obj, struct err *err) {
    struct tree *t = arg;
    if (!is_below(name, t->folder) || str_ends(str_of(name), STR("/"))) {
        return 0; /* the latter: a folder's own marker */
    }
    const char *relative = name + t->cut;
    auto_free char *src = xasprintf("gs://%s/%s", t->bucket, name);
    t->seen++;
    if (is_gs(t->to)) {
        auto_free char *dst = xasprintf("%s/%s", t->to, relative);
        return copy(t->cli, src, dst, err);
    }
    if (!is_inside(relative)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s cannot be a file name here", src);
    }
    auto_free char *file = xasprintf("%s/%s", t->to, relative);
    return make_parents(file, err) ? -1 : download(t->cli, src, file, err);
}

static int fetch_tree(const struct cli *c, const char *src, const char *dst, struct err *err) {
    auto_uri struct uri u = {0};
    if (parse_uri(src, &u, err)) {
        return -1;
    }
    auto_free char *to = xstrdup(dst);
    for (size_t n = strlen(to); n > 1 && to[n - 1] == '/'; n--) {
        to[n - 1] = 0;
    }
    struct tree t = {c, u.bucket, to, u.raw_name, 0, 0};
    for (size_t i = 0; i + 1 < u.raw_name.n; i++) { /* the folder's own name stays */
        t.cut = u.raw_name.p[i] == '/' ? i + 1 : t.cut;
    }
    if (each_object(c, &u, true, fetch_one, &t, err)) {
        return -1;
    }
    return t.seen ? 0 : err_set(err, ERR_NOT_FOUND, "%s matched no objects", src);
}

static int cp_one(const struct cli *c, const char *src, const char *dst, bool tree,
                  struct err *err) {
    if (!is_gs(src) && !is_gs(dst)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "neither %s nor %s is a gs:// URI", src, dst);
    }
    if (tree && is_gs(src)) {
        return fetch_tree(c, src, dst, err);
    }
    if (tree && is_dir(src)) {
        return upload_dir(c, src, dst, err);
    }
    if (is_gs(dst)) {
        auto_free char *to = uri_target(dst, base_of(src));
        return is_gs(src) ? copy(c, src, to, err) : upload(c, src, to, err);
    }
    auto_free char *in = is_dir(dst) ? xasprintf("%s/", dst) : xstrdup(dst);
    auto_free char *file = uri_target(in, base_of(src));
    return download(c, src, file, err);
}

static int cp(const struct cli *c, const struct args *a, struct err *err) {
    if (a->nr_words < 2) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp storage cp [-r] SRC… DST");
    }
    const char *dst = a->words[a->nr_words - 1];
    auto_free char *as_folder = uri_target(dst, "");
    if (!*dst || (a->nr_words > 2 && !is_dir(dst) && as_folder[strlen(as_folder) - 1] != '/')) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "several files need a folder as destination: end \"%s\" in /", dst);
    }
    for (size_t i = 0; i + 1 < a->nr_words; i++) {
        if (cp_one(c, a->words[i], dst, args_on(a, "-r"), err)) {
            return -1;
        }
    }
    return 0;
}

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
};

static int list_one(void *arg, const char *name, json_t *obj, struct err *err) {
    struct listing *l = arg;
    l->seen++;
    if (l->all) {
        if (obj) {
            json_array_append(l->all, obj);
        } else {
            json_array_append_new(l->all, json_pack("{s:s}", "prefix", name));
        }
    } else if (l->detail && obj) {
        printf("%12s  %s  gs://%s/%s\n", json_string_value(json_object_get(obj, "size")),
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
    if (parse_uri(a->words[0], &u, err)) {
        return -1;
    }
    struct listing l = {u.bucket, args_on(a, "-l"), c->json ? json_array() : NULL, 0};
    int rc = each_object(c, &u, args_on(a, "-r"), list_one, &l, err);
    if (l.all) {
        out_json(l.all);
        json_decref(l.all);
    }
    if (rc == 0 && !l.seen && u.raw_name.n) {
        return err_set(err, ERR_NOT_FOUND, "%s matched no objects", a->words[0]);
    }
    return rc;
}

static int remove_one(const struct cli *c, const char *bucket, const char *name, struct err *err) {
    auto_free char *e = http_escape(str_of(name));
    auto_free char *path = xasprintf("/storage/v1/b/%s/o/%s", bucket, e);
    if (http_json(c, "DELETE", path, NULL, NULL, err)) {
        return -1;
    }
    if (!c->quiet) {
        fprintf(stderr, "Removed gs://%s/%s\n", bucket, name);
    }
    return 0;
}

static int remove_below(void *arg, const char *name, json_t *obj, struct err *err) {
    struct tree *t = arg;
    if (!is_below(name, t->folder)) {
        return 0;
    }
    t->seen++;
    return remove_one(t->cli, t->bucket, name, err);
}

static int rm(const struct cli *c, const struct args *a, struct err *err) {
    if (!a->nr_words) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp storage rm [-r] gs://BUCKET/NAME…");
    }
    for (size_t i = 0; i < a->nr_words; i++) {
        auto_uri struct uri u = {0};
        if (parse_uri(a->words[i], &u, err)) {
            return -1;
        }
        if (!args_on(a, "-r")) {
            auto_free char *name = str_dup(u.raw_name);
            if (!*name) {
                return err_set(err, ERR_INVALID_ARGUMENT, "%s is a bucket: rm -r empties it",
                               a->words[i]);
            }
            if (remove_one(c, u.bucket, name, err)) {
                return -1;
            }
            continue;
        }
        struct tree t = {c, u.bucket, NULL, u.raw_name, 0, 0};
        if (each_object(c, &u, true, remove_below, &t, err)) {
            return -1;
        }
        if (!t.seen && u.raw_name.n) {
            return err_set(err, ERR_NOT_FOUND, "%s matched no objects", a->words[i]);
        }
    }
    return 0;
}

static int buckets(const struct cli *c, const struct args *a, struct err *err) {
    bool create = a->nr_words == 2 && strcmp(a->words[0], "create") == 0;
    if (a->nr_words != 2 || (!create && strcmp(a->words[0], "delete") != 0)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp storage buckets create|delete gs://BUCKET");
    }
    auto_uri struct uri u = {0};
    if (parse_uri(a->words[1], &u, err)) {
        return -1;
    }
    if (u.raw_name.n) {
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
    struct flag flags[] = {{.name = "-l", .is_bool = true}, {.name = "-r", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    const char *verb = argv[0];
    if (args_parse(&a, argc - 1, argv + 1, err)) {
        return -1;
    }
    if (strcmp(verb, "cp") == 0) {
        return cp(c, &a, err);
    }
    if (strcmp(verb, "ls") == 0) {
        return ls(c, &a, err);
    }
    if (strcmp(verb, "rm") == 0) {
        return rm(c, &a, err);
    }
    if (strcmp(verb, "buckets") == 0) {
        return buckets(c, &a, err);
    }
    if (strcmp(verb, "cat") == 0) {
        if (!a.nr_words) {
            return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp storage cat gs://BUCKET/NAME…");
        }
        for (size_t i = 0; i < a.nr_words; i++) {
            if (download_to(c, a.words[i], STDOUT_FILENO, "standard output", err)) {
                return -1;
            }
        }
        return 0;
    }
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "storage has no command \"%s\" (see cusp storage --help)", verb);
}
