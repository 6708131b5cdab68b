/* cusp storage: gs:// URIs on this server. */
#include "cli/cli.h"

#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "cusp storage: objects of this server\n\n"
    "  cp SRC… DST       local file <-> gs://BUCKET/NAME, or gs:// -> gs://\n"
    "  ls [-l] [-r] [gs://BUCKET[/PREFIX]]\n"
    "  cat gs://BUCKET/NAME…\n"
    "  rm [-r] gs://BUCKET/NAME…\n"
    "  buckets create gs://BUCKET    buckets delete gs://BUCKET\n";

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

static int upload(const struct cli *c, const char *src, const char *dst, struct err *err) {
    auto_free char *full =
        dst[strlen(dst) - 1] == '/' ? xasprintf("%s%s", dst, base_of(src)) : xstrdup(dst);
    auto_uri struct uri u = {0};
    struct stat st;
    struct http_reply r;
    auto_close int fd = open(src, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        return err_sys(err, errno, "open %s", src);
    }
    if (parse_uri(full, &u, err)) {
        return -1;
    }
    if (!u.raw_name.n) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "\"%s\" names a bucket; write %s/ to keep the file's name", dst, dst);
    }
    auto_free char *path =
        xasprintf("/upload/storage/v1/b/%s/o?uploadType=media&name=%s", u.bucket, u.name);
    if (http_upload(c, "POST", path, "application/octet-stream", fd, (uint64_t)st.st_size,
                    base_of(src), &r, err)) {
        return -1;
    }
    http_reply_fini(&r);
    if (!c->quiet) {
        fprintf(stderr, "%s -> %s\n", src, full);
    }
    return 0;
}

static bool to_fd(void *arg, struct str bytes) {
    int fd = *(int *)arg;
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n <= 0) {
            return false;
        }
        bytes = str_sub(bytes, (size_t)n, bytes.n);
    }
    return true;
}

static int download_to(const struct cli *c, const char *src, int fd, struct err *err) {
    auto_uri struct uri u = {0};
    if (parse_uri(src, &u, err)) {
        return -1;
    }
    auto_free char *path = xasprintf("/download/storage/v1/b/%s/o/%s?alt=media", u.bucket, u.name);
    return http_stream(c, path, to_fd, &fd, err);
}

static int download(const struct cli *c, const char *src, const char *dst, struct err *err) {
    struct stat st;
    bool into = stat(dst, &st) == 0 && S_ISDIR(st.st_mode);
    auto_free char *file = into ? xasprintf("%s/%s", dst, base_of(src)) : xstrdup(dst);
    auto_free char *tmp = xasprintf("%s.cusp-partial", file);
    auto_close int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_sys(err, errno, "open %s", tmp);
    }
    if (download_to(c, src, fd, err) || rename(tmp, file)) {
        unlink(tmp);
        return err->code ? -1 : err_sys(err, errno, "rename %s", file);
    }
    if (!c->quiet) {
        fprintf(stderr, "%s -> %s\n", src, file);
    }
    return 0;
}

static int copy(const struct cli *c, const char *src, const char *dst, struct err *err) {
    auto_free char *full =
        dst[strlen(dst) - 1] == '/' ? xasprintf("%s%s", dst, base_of(src)) : xstrdup(dst);
    auto_uri struct uri a = {0}, b = {0};
    if (parse_uri(src, &a, err) || parse_uri(full, &b, err)) {
        return -1;
    }
    auto_free char *path =
        xasprintf("/storage/v1/b/%s/o/%s/copyTo/b/%s/o/%s", a.bucket, a.name, b.bucket, b.name);
    json_t *body = json_object();
    int rc = http_json(c, "POST", path, body, NULL, err);
    json_decref(body);
    return rc;
}

static int cp(const struct cli *c, const struct args *a, struct err *err) {
    if (a->nr_words < 2) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp storage cp SRC… DST");
    }
    const char *dst = a->words[a->nr_words - 1];
    for (size_t i = 0; i + 1 < a->nr_words; i++) {
        const char *src = a->words[i];
        int rc = is_gs(src)   ? (is_gs(dst) ? copy(c, src, dst, err) : download(c, src, dst, err))
                 : is_gs(dst) ? upload(c, src, dst, err)
                              : err_set(err, ERR_INVALID_ARGUMENT,
                                        "neither %s nor %s is a gs:// URI", src, dst);
        if (rc) {
            return -1;
        }
    }
    return 0;
}

static int list_buckets(const struct cli *c, struct err *err) {
    auto_free char *path = xasprintf("/storage/v1/b?project=%s", c->project);
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
        json_array_append(l->all, obj ? obj : json_string(name));
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
    struct listing l = {u.bucket, args_get(a, "-l") != NULL, c->json ? json_array() : NULL, 0};
    int rc = each_object(c, &u, args_get(a, "-r") != NULL, list_one, &l, err);
    if (l.all) {
        out_json(l.all);
        json_decref(l.all);
    }
    if (rc == 0 && !l.seen && u.raw_name.n) {
        return err_set(err, ERR_NOT_FOUND, "%s matched no objects", a->words[0]);
    }
    return rc;
}

struct removal {
    const struct cli *cli;
    const char *bucket;
};

static int remove_one(void *arg, const char *name, json_t *obj, struct err *err) {
    struct removal *r = arg;
    auto_free char *e = http_escape(str_of(name));
    auto_free char *path = xasprintf("/storage/v1/b/%s/o/%s", r->bucket, e);
    return http_json(r->cli, "DELETE", path, NULL, NULL, err);
}

static int rm(const struct cli *c, const struct args *a, struct err *err) {
    for (size_t i = 0; i < a->nr_words; i++) {
        auto_uri struct uri u = {0};
        if (parse_uri(a->words[i], &u, err)) {
            return -1;
        }
        struct removal r = {c, u.bucket};
        auto_free char *name = str_dup(u.raw_name);
        int rc = args_get(a, "-r") ? each_object(c, &u, true, remove_one, &r, err)
                                   : remove_one(&r, name, NULL, err);
        if (rc) {
            return -1;
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
    if (!create) {
        auto_free char *path = xasprintf("/storage/v1/b/%s", u.bucket);
        return http_json(c, "DELETE", path, NULL, NULL, err);
    }
    auto_free char *path = xasprintf("/storage/v1/b?project=%s", c->project);
    json_t *body = json_pack("{s:s,s:s}", "name", u.bucket, "location", c->region);
    int rc = http_json(c, "POST", path, body, NULL, err);
    json_decref(body);
    return rc;
}

int cmd_storage(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "-l", .is_bool = true}, {.name = "-r", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    const char *verb = argc ? argv[0] : "--help";
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "help") == 0 ||
        (argc > 1 && strcmp(argv[argc - 1], "--help") == 0)) {
        fputs(help, stdout);
        return 0;
    }
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
        for (size_t i = 0; i < a.nr_words; i++) {
            if (download_to(c, a.words[i], STDOUT_FILENO, err)) {
                return -1;
            }
        }
        return 0;
    }
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "storage has no command \"%s\" (see cusp storage --help)", verb);
}
