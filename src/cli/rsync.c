/* cusp storage rsync: makes one side the same as the other. Two files are the same when size and
 * CRC-32C are: times mean nothing across machines. */
#include "cli/transfer.h"

#include "base/enc.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>
#include <unistd.h>

struct entry {
    char *name; /* relative */
    struct object_facts facts;
    bool wanted; /* the other side has it */
};

struct side {
    const struct cli *cli;
    char *root; /* without a slash at the end */
    size_t cut; /* bytes of a name before the relative one */
    VEC_OF(struct entry) v;
};

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int add_object(void *arg, const char *name, json_t *obj, struct err *err) {
    struct side *s = arg;
    struct entry e = {0};
    if (strlen(name) <= s->cut || name[strlen(name) - 1] == '/') {
        return 0;
    }
    object_facts_of(obj, &e.facts);
    e.name = xstrdup(name + s->cut);
    vec_push(&s->v, e);
    return 0;
}

static int list_remote(struct side *s, struct err *err) {
    auto_free char *folder = xasprintf("%s/", s->root);
    auto_uri struct uri u = {0};
    if (uri_parse(folder, &u, err)) {
        return -1;
    }
    s->cut = strlen(u.raw_name);
    return objects_each(s->cli, &u, true, add_object, s, err);
}

static int list_local(struct side *s, bool may_lack, struct err *err) {
    char *roots[] = {s->root, NULL};
    struct stat st;
    FTSENT *e;
    int rc = 0;
    if (stat(s->root, &st)) {
        return errno == ENOENT && may_lack ? 0 : err_sys(err, errno, "open %s", s->root);
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is not a folder", s->root);
    }
    FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    if (!fts) {
        return err_sys(err, errno, "open %s", s->root);
    }
    while (rc == 0 && (e = fts_read(fts))) {
        if (e->fts_info == FTS_F && !strstr(e->fts_name, ".cusp-part-")) {
            struct entry x = {.name = xstrdup(e->fts_path + strlen(s->root) + 1)};
            x.facts.size = (uint64_t)e->fts_statp->st_size;
            vec_push(&s->v, x);
        } else if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS) {
            rc = err_sys(err, e->fts_errno, "read %s", e->fts_path);
        }
    }
    fts_close(fts);
    return rc;
}

static int list(struct side *s, bool may_lack, struct err *err) {
    int rc = uri_is_gs(s->root) ? list_remote(s, err) : list_local(s, may_lack, err);
    if (rc == 0 && s->v.n) {
        qsort(s->v.p, s->v.n, sizeof(*s->v.p), by_name);
    }
    return rc;
}

static int crc_of_file(const char *path, uint32_t *ret, struct err *err) {
    static char bytes[262144];
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint32_t crc = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && (n = read(fd, bytes, sizeof(bytes))) > 0) {
        crc = enc_crc32c(crc, bytes, (size_t)n);
    }
    if (n < 0) {
        return err_sys(err, errno, "read %s", path);
    }
    *ret = crc;
    return 0;
}

/* Lists show checksums only where they are known; asking for the object makes them known. */
static int need_crc(struct side *s, struct entry *e, struct err *err) {
    auto_free char *full = xasprintf("%s/%s", s->root, e->name);
    auto_uri struct uri u = {0};
    if (e->facts.has_crc) {
        return 0;
    }
    if (uri_is_gs(s->root)) {
        return uri_parse(full, &u, err) || object_look(s->cli, &u, &e->facts, err) ? -1 : 0;
    }
    e->facts.has_crc = true;
    return crc_of_file(full, &e->facts.crc, err);
}

static int is_same(struct side *from, struct entry *x, struct side *to, struct entry *y, bool *ret,
                   struct err *err) {
    *ret = false;
    if (x->facts.size != y->facts.size) {
        return 0;
    }
    if (need_crc(from, x, err) || need_crc(to, y, err)) {
        return -1;
    }
    *ret = x->facts.has_crc && y->facts.has_crc && x->facts.crc == y->facts.crc;
    return 0;
}

static int plan_one(struct transfers *t, struct side *from, struct entry *x, struct side *to,
                    struct err *err) {
    auto_free char *src = xasprintf("%s/%s", from->root, x->name);
    auto_free char *dst = xasprintf("%s/%s", to->root, x->name);
    bool up = !uri_is_gs(from->root), down = !uri_is_gs(to->root);
    struct entry *y = to->v.n ? bsearch(x, to->v.p, to->v.n, sizeof(*x), by_name) : NULL;
    bool same = false;
    if (down && !name_is_inside(x->name)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s cannot be a file name here", src);
    }
    if (y) {
        y->wanted = true;
        if (is_same(from, x, to, y, &same, err)) {
            return -1;
        }
    }
    if (!same) {
        transfers_add(t,
                      up     ? TRANSFER_UPLOAD
                      : down ? TRANSFER_DOWNLOAD
                             : TRANSFER_COPY,
                      src, dst, up || down ? x->facts.size : 0, down ? &x->facts : NULL);
    }
    return 0;
}

/* Files are removed here, objects with the transfers. */
static int drop_extras(struct transfers *t, struct side *to, bool dry, struct err *err) {
    for (size_t i = 0; i < to->v.n; i++) {
        auto_free char *path = xasprintf("%s/%s", to->root, to->v.p[i].name);
        if (to->v.p[i].wanted) {
            continue;
        }
        if (uri_is_gs(to->root)) {
            transfers_add(t, TRANSFER_REMOVE, path, NULL, 0, NULL);
        } else if (dry) {
            printf("would remove %s\n", path);
        } else if (unlink(path)) {
            return err_sys(err, errno, "remove %s", path);
        } else if (!to->cli->quiet) {
            fprintf(stderr, "Removed %s\n", path);
        }
    }
    return 0;
}

static int carry_out(struct transfers *t, bool dry, struct err *err) {
    for (size_t i = 0; i < t->v.n; i++) {
        struct transfer *x = &t->v.p[i];
        if (dry && x->kind == TRANSFER_REMOVE) {
            printf("would remove %s\n", x->src);
        } else if (dry) {
            printf("would copy %s -> %s\n", x->src, x->dst);
        } else if (x->kind == TRANSFER_DOWNLOAD && storage_parents(x->dst, err)) {
            return -1;
        }
    }
    return dry || !t->v.n ? 0 : transfers_run(t, err);
}

static void side_fini(struct side *s) {
    for (size_t i = 0; i < s->v.n; i++) {
        free(s->v.p[i].name);
    }
    vec_fini(&s->v);
    free(s->root);
}

static char *root_of(const char *word) {
    char *s = xstrdup(word);
    for (size_t n = strlen(s); n > 1 && s[n - 1] == '/' && !(uri_is_gs(s) && n <= 5); n--) {
        s[n - 1] = 0;
    }
    return s;
}

int storage_rsync(const struct cli *c, const struct args *a, struct err *err) {
    auto_transfers struct transfers t = {.cli = c};
    bool dry = args_on(a, "--dry-run");
    if (a->nr_words != 2 || !*a->words[0] || !*a->words[1]) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp storage rsync [--delete] [--dry-run] SRC DST");
    }
    if (!uri_is_gs(a->words[0]) && !uri_is_gs(a->words[1])) {
        return err_set(err, ERR_INVALID_ARGUMENT, "neither %s nor %s is a gs:// URI", a->words[0],
                       a->words[1]);
    }
    if (storage_threads(a, &t.threads, err)) {
        return -1;
    }
    struct side from = {.cli = c, .root = root_of(a->words[0])};
    struct side to = {.cli = c, .root = root_of(a->words[1])};
    int rc = list(&from, false, err) || list(&to, true, err) ? -1 : 0;
    for (size_t i = 0; rc == 0 && i < from.v.n; i++) {
        rc = plan_one(&t, &from, &from.v.p[i], &to, err);
    }
    if (rc == 0 && args_on(a, "--delete")) {
        rc = drop_extras(&t, &to, dry, err);
    }
    rc = rc ? rc : carry_out(&t, dry, err);
    side_fini(&from);
    side_fini(&to);
    return rc;
}
