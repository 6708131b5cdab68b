/* The tree that a job's metadata server shows: a flat list of leaves made for the caller, from
 * which directories, recursive JSON and flat text follow. */
#include "api/identity_int.h"
#include "base/jw.h"

#define LEAVES_MAX 32
#define DEPTH_MAX 8
#define SCOPE "https://www.googleapis.com/auth/cloud-platform"

enum kind { TEXT, NUMBER, LIST, EMPTY_DIR };

struct leaf {
    const char *path; /* of EMPTY_DIR with the slash at its end */
    enum kind kind;
    const char *value;
};

struct tree {
    struct leaf leaf[LEAVES_MAX];
    size_t n;
};

static void add(struct tree *t, enum kind kind, const char *path, const char *value) {
    CHECK(t->n < LEAVES_MAX);
    t->leaf[t->n++] = (struct leaf){path, kind, value};
}

static void add_account(struct tree *t, struct arena *a, const char *name, const char *email) {
    static const char base[] = "instance/service-accounts";
    add(t, LIST, arena_printf(a, "%s/%s/aliases", base, name), "default");
    add(t, TEXT, arena_printf(a, "%s/%s/email", base, name), email);
    add(t, LIST, arena_printf(a, "%s/%s/scopes", base, name), SCOPE);
}

/* In the order of directories: children of one stand together. */
static void make(struct tree *t, const struct caller *c, struct arena *a) {
    const char *number = arena_printf(a, "%llu", (unsigned long long)c->project_number);
    add(t, EMPTY_DIR, "instance/attributes/", NULL);
    add(t, TEXT, "instance/cpu-platform", "Unknown CPU Platform");
    add(t, TEXT, "instance/hostname",
        arena_printf(a, "%s-%s.c.%s.internal", c->job_id, c->replica, c->project_id));
    add(t, NUMBER, "instance/id", c->job_id);
    /* Watched by libraries that save a checkpoint before the machine goes; it never does here. */
    add(t, TEXT, "instance/maintenance-event", "NONE");
    add(t, TEXT, "instance/name", arena_printf(a, "%s-%s", c->job_id, c->replica));
    add(t, TEXT, "instance/preempted", "FALSE");
    add(t, TEXT, "instance/region", arena_printf(a, "projects/%s/regions/%s", number, c->location));
    add_account(t, a, c->email, c->email);
    add_account(t, a, "default", c->email);
    add(t, TEXT, "instance/zone", arena_printf(a, "projects/%s/zones/%s-a", number, c->location));
    add(t, EMPTY_DIR, "project/attributes/", NULL);
    add(t, NUMBER, "project/numeric-project-id", number);
    add(t, TEXT, "project/project-id", c->project_id);
    add(t, TEXT, "universe/universe-domain", "googleapis.com");
}

/* The leaf is below the directory (which ends with a slash, or is "" for all). */
static bool below(const struct leaf *l, struct str dir) {
    return str_starts(str_of(l->path), dir);
}

/* "service-accounts" is shown as serviceAccounts; names of accounts stay. */
static void put_key(struct jw *w, struct arena *a, struct str name) {
    char *key = arena_strndup(a, name.p, name.n);
    size_t n = 0;
    for (size_t i = 0; i < name.n && str_chr(name, '@') < 0; i++) {
        bool dash = key[i] == '-' && i + 1 < name.n;
        key[n++] = dash ? key[i + 1] : key[i];
        if (dash) {
            key[n - 1] = (char)(key[n - 1] - (key[n - 1] >= 'a' && key[n - 1] <= 'z' ? 32 : 0));
            i++;
        }
    }
    jw_key_str(w, str_chr(name, '@') < 0 ? str_n(key, n) : name);
}

static void put_value(struct jw *w, const struct leaf *l) {
    switch (l->kind) {
    case TEXT:
        jw_cstr(w, l->value);
        break;
    case NUMBER:
        jw_raw(w, str_of(l->value));
        break;
    case LIST:
        jw_array(w);
        jw_cstr(w, l->value);
        jw_end_array(w);
        break;
    case EMPTY_DIR:
        jw_object(w);
        jw_end_object(w);
        break;
    }
}

/* Leaves [i, end) are those below dir. */
static void put_json(struct jw *w, struct arena *a, const struct tree *t, struct str dir) {
    size_t i = 0;
    jw_object(w);
    while (i < t->n) {
        const struct leaf *l = &t->leaf[i];
        if (!below(l, dir)) {
            i++;
            continue;
        }
        struct str rest = str_sub(str_of(l->path), dir.n, SIZE_MAX), name = rest;
        if (!rest.n) { /* the directory itself, which is empty */
            i++;
            continue;
        }
        struct str first = str_cut(&name, '/');
        put_key(w, a, first);
        if (!name.n) { /* a value, or an empty directory right here */
            put_value(w, l);
            i++;
            continue;
        }
        struct str sub = str_n(l->path, dir.n + first.n + 1);
        put_json(w, a, t, sub);
        while (i < t->n && below(&t->leaf[i], sub)) {
            i++;
        }
    }
    jw_end_object(w);
}

/* Names of the directory, one a line, directories with a slash. */
static void put_listing(struct buf *b, const struct tree *t, struct str dir) {
    struct str last = {NULL, 0};
    for (size_t i = 0; i < t->n; i++) {
        if (!below(&t->leaf[i], dir)) {
            continue;
        }
        struct str rest = str_sub(str_of(t->leaf[i].path), dir.n, SIZE_MAX);
        ptrdiff_t slash = str_chr(rest, '/');
        struct str name = slash < 0 ? rest : str_n(rest.p, (size_t)slash + 1);
        if (name.n && !str_eq(name, last)) {
            buf_put_str(b, name);
            buf_putc(b, '\n');
        }
        last = name;
    }
    if (str_ends(dir, STR("service-accounts/default/")) || str_chr(dir, '@') >= 0) {
        buf_puts(b, "identity\ntoken\n");
    }
}

static void put_flat(struct buf *b, const struct tree *t, struct str dir) {
    for (size_t i = 0; i < t->n; i++) {
        const struct leaf *l = &t->leaf[i];
        if (below(l, dir) && l->kind != EMPTY_DIR) {
            struct str rest = str_sub(str_of(l->path), dir.n, SIZE_MAX);
            buf_printf(b, "%.*s %s\n", STR_ARG(rest), l->value);
        }
    }
}

bool metadata_get(const struct caller *c, struct arena *a, struct str path, bool recursive,
                  const char *alt, struct buf *b, enum metadata_form *ret_form) {
    struct tree t = {0};
    struct jw w;
    jw_init(&w, b, 0);
    make(&t, c, a);
    bool json = alt ? strcmp(alt, "json") == 0 : recursive;
    *ret_form = json ? METADATA_JSON : METADATA_TEXT;
    for (size_t i = 0; i < t.n; i++) {
        if (str_eqc(path, t.leaf[i].path) && t.leaf[i].kind != EMPTY_DIR) {
            if (alt && json) {
                put_value(&w, &t.leaf[i]);
            } else {
                *ret_form = METADATA_TEXT;
                buf_puts(b, t.leaf[i].value);
            }
            return true;
        }
    }
    bool slash = !path.n || path.p[path.n - 1] == '/';
    struct str dir = slash ? path : str_of(arena_printf(a, "%.*s/", STR_ARG(path)));
    bool any = false;
    for (size_t i = 0; i < t.n && !any; i++) {
        any = below(&t.leaf[i], dir);
    }
    if (any && json) {
        put_json(&w, a, &t, dir);
    } else if (any && recursive) {
        put_flat(b, &t, dir);
    } else if (any) {
        put_listing(b, &t, dir);
    }
    return any;
}
