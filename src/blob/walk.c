/* Lists a bucket in bytewise name order without holding it in memory.
 *
 * A heap of nodes ordered by the smallest name each can yield: files yield themselves, directories
 * (and chunk directories) are opened when they come to the top. Because a directory's key is a
 * prefix of everything in it, popping gives global bytewise order whatever '/' sorts next to and
 * however names were escaped. A directory contributes at most `keep` entries at a time; when it has
 * more, a continuation node reads it again from there. */
#include "blob/blob_int.h"

#include "base/heap.h"
#include "base/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum node_kind { NODE_FILE, NODE_DIR, NODE_CHUNK, NODE_MORE_DIR, NODE_MORE_CHUNK };

struct node {
    struct heap_node link;
    enum node_kind kind;
    bool is_escaped; /* of two files with one name the plain one wins */
    struct str key;  /* lower bound of the names below; MORE: exclusive */
    struct str base; /* MORE: key of the directory */
    char *raw;       /* path below the bucket, "." for its root */
};

struct walk {
    int fd;
    const struct walk_opts *o;
    struct heap heap;
    size_t keep;
    struct glob *glob;
    char *parent; /* of the file looked at last, and that directory */
    int parent_fd;
    struct str skip; /* names beginning with it were already answered as a prefix */
    struct arena *out;
    VEC_OF(struct walk_item) items;
};

static bool node_less(const struct heap_node *x, const struct heap_node *y) {
    const struct node *a = CONTAINER_OF(x, struct node, link),
                      *b = CONTAINER_OF(y, struct node, link);
    int c = str_cmp(a->key, b->key);
    if (c != 0) {
        return c < 0;
    }
    if (a->kind != b->kind) {
        return a->kind < b->kind;
    }
    return !a->is_escaped && b->is_escaped;
}

static int node_cmp(const void *x, const void *y) {
    const struct node *a = *(struct node *const *)x, *b = *(struct node *const *)y;
    return node_less(&a->link, &b->link) ? -1 : node_less(&b->link, &a->link) ? 1 : 0;
}

static void node_free(struct node *n) {
    if (n) {
        free((char *)n->key.p);
        free((char *)n->base.p);
        free(n->raw);
        free(n);
    }
}

static struct str own(struct str s) {
    return (struct str){str_dup(s), s.n};
}

/* May a subtree whose names all begin with p hold a name we want? */
static bool subtree_wanted(const struct walk *w, struct str p) {
    const struct walk_opts *o = w->o;
    if (!str_starts(p, o->prefix) && !str_starts(o->prefix, p)) {
        return false;
    }
    if (str_cmp(p, o->start) < 0 && !str_starts(o->start, p)) {
        return false;
    }
    if (o->after.n && str_cmp(p, o->after) < 0 && !str_starts(o->after, p)) {
        return false;
    }
    if (o->skip_after && o->after.n && str_starts(p, o->after)) {
        return false;
    }
    if (w->skip.n && str_starts(p, w->skip)) {
        return false;
    }
    return o->end.n == 0 || str_cmp(p, o->end) < 0;
}

static bool name_wanted(const struct walk *w, struct str k) {
    const struct walk_opts *o = w->o;
    return str_starts(k, o->prefix) && str_cmp(k, o->start) >= 0 &&
           (o->after.n == 0 || str_cmp(k, o->after) > 0) &&
           !(o->skip_after && o->after.n && str_starts(k, o->after)) &&
           !(w->skip.n && str_starts(k, w->skip)) && (o->end.n == 0 || str_cmp(k, o->end) < 0);
}

static struct node *node_new(enum node_kind kind, struct str base, struct str part, const char *dir,
                             struct str entry) {
    struct node *n = xcalloc(1, sizeof(*n));
    size_t len = base.n + part.n + (kind == NODE_DIR);
    char *k = xmalloc(len + 1);
    if (base.n) {
        memcpy(k, base.p, base.n);
    }
    if (part.n) {
        memcpy(k + base.n, part.p, part.n);
    }
    if (kind == NODE_DIR) {
        k[len - 1] = '/';
    }
    k[len] = 0;
    n->kind = kind;
    n->key = (struct str){k, len};
    n->raw = strcmp(dir, ".") == 0 ? str_dup(entry) : xasprintf("%s/%.*s", dir, STR_ARG(entry));
    n->is_escaped = str_starts(entry, STR(BLOB_ESC));
    return n;
}

/* Entries of one directory on their way to the heap. */
struct batch {
    VEC_OF(struct node *) v;
    bool is_cut;
    struct str last; /* largest key kept when cut */
};

/* Keeps the smallest `keep` (and those of equal key, so that a continuation "after last" loses
 * none). */
static void batch_cut(struct batch *b, size_t keep) {
    if (b->v.n <= keep) {
        return;
    }
    qsort(b->v.p, b->v.n, sizeof(b->v.p[0]), node_cmp);
    size_t n = keep;
    while (n < b->v.n && str_eq(b->v.p[n]->key, b->v.p[keep - 1]->key)) {
        n++;
    }
    if (n == b->v.n) {
        return;
    }
    for (size_t i = n; i < b->v.n; i++) {
        node_free(b->v.p[i]);
    }
    b->v.n = n;
    b->is_cut = true;
    b->last = b->v.p[n - 1]->key;
}

bool walk_is_dir(int dirfd, const struct dirent *e, bool *ret_usable) {
    unsigned char t = e->d_type;
    if (t == DT_UNKNOWN) {
        struct stat st;
        if (fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            t = S_ISREG(st.st_mode) ? DT_REG : S_ISDIR(st.st_mode) ? DT_DIR : DT_LNK;
        }
    }
    *ret_usable = t == DT_REG || t == DT_DIR;
    return t == DT_DIR;
}

/* The prefix names the next component in full: go there instead of reading a directory that may be
 * huge. */
static void descend(struct walk *w, struct str base, const char *raw, struct str comp) {
    auto_buf struct buf path = BUF_INIT(BLOB_RAW_MAX);
    for (int escaped = name_is_plain(comp) ? 0 : 1; escaped < 2; escaped++) {
        buf_clear(&path);
        if (escaped) {
            name_escape(&path, comp, true);
        } else {
            buf_put_str(&path, comp);
        }
        struct str entry = buf_str(&path);
        ptrdiff_t slash = str_chr(entry, '/');
        bool is_chunk = slash >= 0 && escaped;
        entry = is_chunk ? str_sub(entry, 0, (size_t)slash) : entry;
        struct str part = is_chunk ? str_sub(comp, 0, BLOB_CHUNK) : comp;
        struct node *n = node_new(is_chunk ? NODE_CHUNK : NODE_DIR, base, part, raw, entry);
        struct stat st;
        if (subtree_wanted(w, n->key) && beneath_stat(w->fd, n->raw, &st) == 0 &&
            S_ISDIR(st.st_mode)) {
            heap_push(&w->heap, &n->link);
        } else {
            node_free(n);
        }
    }
}

/* A bound of the list, seen from a directory whose names begin with base; empty: it does not bind
 * here. */
static struct str below(struct str bound, struct str base) {
    return str_starts(bound, base) ? str_sub(bound, base.n, bound.n) : STR("");
}

static struct str later(struct str a, struct str b) {
    return str_cmp(a, b) < 0 ? b : a;
}

/* From a sorted picture only what the page can use becomes nodes. */
static void read_snap(struct walk *w, struct str base, const char *raw, const struct str *from,
                      const struct snap *s) {
    const struct walk_opts *o = w->o;
    struct str least = later(below(o->start, base), below(o->prefix, base));
    least = later(least, below(o->after, base));
    least = from ? later(least, below(*from, base)) : least;
    size_t lo = 0, hi = s->entries.n, kept = 0;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (snap_cmp(s, &s->entries.p[mid], least) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    /* A folder that the bound lies in sorts right before it. */
    while (lo > 0 && s->entries.p[lo - 1].kind != NAME_FILE &&
           str_starts(least, snap_part(s, &s->entries.p[lo - 1]))) {
        lo--;
    }
    struct str last = {0};
    for (size_t i = lo; i < s->entries.n; i++) {
        const struct snap_entry *e = &s->entries.p[i];
        struct str part = snap_part(s, e);
        if (base.n + part.n > limits.max_object_name) {
            continue;
        }
        struct node *n = node_new(e->kind == NAME_FILE  ? NODE_FILE
                                  : e->kind == NAME_DIR ? NODE_DIR
                                                        : NODE_CHUNK,
                                  base, part, raw, snap_name(s, e));
        if (kept >= w->keep && !str_eq(n->key, last)) { /* the rest when these are used up */
            struct node *more = xcalloc(1, sizeof(*more));
            more->kind = NODE_MORE_DIR;
            more->key = own(last);
            more->base = own(base);
            more->raw = xstrdup(raw);
            heap_push(&w->heap, &more->link);
            node_free(n);
            return;
        }
        bool is_past = (o->end.n && str_cmp(n->key, o->end) >= 0) ||
                       (str_cmp(n->key, o->prefix) > 0 && !str_starts(n->key, o->prefix));
        bool wanted = n->kind == NODE_FILE ? name_wanted(w, n->key) : subtree_wanted(w, n->key);
        if (!wanted || (from && str_cmp(n->key, *from) <= 0)) {
            node_free(n);
            if (is_past) {
                return;
            }
            continue;
        }
        last = n->key; /* lives until its node is popped, which is after this */
        kept++;
        heap_push(&w->heap, &n->link);
    }
}

static int read_dir(struct walk *w, struct str base, const char *raw, bool in_chunk,
                    const struct str *from, struct err *err) {
    const struct str prefix = w->o->prefix;
    if (!in_chunk && !from && prefix.n > base.n && str_starts(prefix, base)) {
        struct str rest = str_sub(prefix, base.n, prefix.n);
        struct str comp = str_cut(&rest, '/');
        if (rest.p) {
            descend(w, base, raw, comp);
            return 0;
        }
    }
    int fd = beneath_open(w->fd, raw, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -ENAMETOOLONG) {
        return 0; /* gone meanwhile, or deeper than any legal name */
    }
    if (fd < 0) {
        return err_sys(err, -fd, "list a bucket directory");
    }
    DIR *d = fdopendir(fd);
    if (!d) {
        int e = errno;
        close(fd);
        return err_sys(err, e, "list a bucket directory");
    }
    struct snap *snap = in_chunk || !w->o->snaps ? NULL : snap_of(w->o->snaps, d);
    if (snap) {
        read_snap(w, base, raw, from, snap);
        snap_unref(w->o->snaps, snap);
        closedir(d);
        return 0;
    }
    struct batch b = {0};
    struct dirent *e;
    while ((e = readdir(d))) {
        bool usable;
        bool is_dir = walk_is_dir(fd, e, &usable);
        struct str part, entry = str_of(e->d_name);
        enum name_kind kind = usable ? name_decode(entry, is_dir, in_chunk, &part) : NAME_NONE;
        if (kind == NAME_NONE || base.n + part.n > limits.max_object_name) {
            continue;
        }
        struct node *n = node_new(kind == NAME_FILE  ? NODE_FILE
                                  : kind == NAME_DIR ? NODE_DIR
                                                     : NODE_CHUNK,
                                  base, part, raw, entry);
        bool wanted = n->kind == NODE_FILE ? name_wanted(w, n->key) : subtree_wanted(w, n->key);
        if (!wanted || (from && str_cmp(n->key, *from) <= 0) ||
            (b.is_cut && str_cmp(n->key, b.last) > 0)) {
            node_free(n);
            continue;
        }
        vec_push(&b.v, n);
        if (b.v.n >= 2 * w->keep) {
            batch_cut(&b, w->keep);
        }
    }
    closedir(d);
    batch_cut(&b, w->keep);
    if (b.is_cut) {
        struct node *more = xcalloc(1, sizeof(*more));
        more->kind = in_chunk ? NODE_MORE_CHUNK : NODE_MORE_DIR;
        more->key = own(b.last);
        more->base = own(base);
        more->raw = xstrdup(raw);
        heap_push(&w->heap, &more->link);
    }
    for (size_t i = 0; i < b.v.n; i++) {
        heap_push(&w->heap, &b.v.p[i]->link);
    }
    vec_fini(&b.v);
    return 0;
}

/* An object that closes with the delimiter stands for the folder and, when asked for, for itself.
 * Both come on one page: a token between them would lose one. */
static bool emit_folder_object(struct walk *w, const struct node *n, const struct stat *st) {
    if (w->items.n >= w->o->max) {
        return true;
    }
    struct walk_item it = {.name = arena_str(w->out, n->key), .st = *st};
    vec_push(&w->items, it);
    it.is_prefix = true;
    vec_push(&w->items, it);
    w->skip = it.name;
    return false;
}

/* True when the page is full and there is more. */
static bool emit(struct walk *w, struct str name, bool is_prefix, const struct stat *st) {
    if (w->items.n >= w->o->max) {
        return true;
    }
    struct walk_item it = {.name = arena_str(w->out, name), .is_prefix = is_prefix};
    if (st) {
        it.st = *st;
    }
    vec_push(&w->items, it);
    if (is_prefix) {
        w->skip = it.name;
    }
    return false;
}

/* Files come a directory at a time: its descriptor saves walking there for each of them. */
static int stat_file(struct walk *w, const char *raw, struct stat *ret) {
    const char *slash = strrchr(raw, '/');
    size_t n = slash ? (size_t)(slash - raw) : 0;
    if (!w->parent || strlen(w->parent) != n || memcmp(w->parent, raw, n) != 0) {
        free(w->parent);
        mem_auto_close(&w->parent_fd);
        w->parent = xstrndup(raw, n);
        w->parent_fd = beneath_open(w->fd, n ? w->parent : ".", O_RDONLY | O_DIRECTORY, 0);
    }
    if (w->parent_fd < 0) {
        return w->parent_fd;
    }
    return fstatat(w->parent_fd, slash ? slash + 1 : raw, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
                                                                                        : 0;
}

static bool visit_file(struct walk *w, const struct node *n) {
    struct stat st;
    if (!name_wanted(w, n->key) || n->key.n == 0 || blob_check_object_name(n->key, NULL) < 0 ||
        (w->glob && !glob_match(w->glob, n->key)) || stat_file(w, n->raw, &st) < 0 ||
        !S_ISREG(st.st_mode)) {
        return false;
    }
    const struct str delim = w->o->delimiter;
    if (delim.n) {
        size_t at = w->o->prefix.n;
        ptrdiff_t hit = str_find(str_sub(n->key, at, n->key.n), delim);
        if (hit >= 0 && w->o->with_folder_objects && at + (size_t)hit + delim.n == n->key.n) {
            return emit_folder_object(w, n, &st);
        }
        if (hit >= 0) {
            return emit(w, str_sub(n->key, 0, at + (size_t)hit + delim.n), true, NULL);
        }
    }
    if (w->items.n && str_eq(w->items.p[w->items.n - 1].name, n->key)) {
        return false; /* its escaped double */
    }
    return emit(w, n->key, false, &st);
}

int walk_list(int bucket_fd, const struct walk_opts *o, struct arena *a, struct walk_result *ret,
              struct err *err) {
    struct walk w = {.fd = bucket_fd,
                     .parent_fd = -1,
                     .o = o,
                     .out = a,
                     .keep = o->max + 2u < 64 ? 64 : o->max + 2u};
    if (o->glob.n) {
        w.glob = glob_new(o->glob, err);
        if (!w.glob) {
            return -1;
        }
    }
    heap_init(&w.heap, node_less);
    bool more = false;
    int r = read_dir(&w, STR(""), ".", false, NULL, err);
    struct heap_node *top;
    while (r == 0 && !more && (top = heap_top(&w.heap))) {
        heap_remove(&w.heap, top);
        struct node *n = CONTAINER_OF(top, struct node, link);
        switch (n->kind) {
        case NODE_FILE:
            more = visit_file(&w, n);
            break;
        case NODE_DIR:
        case NODE_CHUNK:
            if (subtree_wanted(&w, n->key)) {
                r = read_dir(&w, n->key, n->raw, n->kind == NODE_CHUNK, NULL, err);
            }
            break;
        case NODE_MORE_DIR:
        case NODE_MORE_CHUNK:
            if (subtree_wanted(&w, n->base)) {
                r = read_dir(&w, n->base, n->raw, n->kind == NODE_MORE_CHUNK, &n->key, err);
            }
            break;
        }
        node_free(n);
    }
    while ((top = heap_top(&w.heap))) {
        heap_remove(&w.heap, top);
        node_free(CONTAINER_OF(top, struct node, link));
    }
    heap_fini(&w.heap);
    free(w.parent);
    mem_auto_close(&w.parent_fd);
    glob_free(w.glob);
    if (r == 0) {
        ret->items = arena_memdup(a, w.items.p, w.items.n * sizeof(w.items.p[0]));
        ret->n = w.items.n;
        ret->more = more;
    }
    vec_fini(&w.items);
    return r;
}
