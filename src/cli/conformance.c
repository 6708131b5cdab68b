/* cusp conformance: every official client against this endpoint, and what came of it as a table. */
#include "cli/cli.h"
#include "cli/driver.h"
#include "cli/env.h"

#include <unistd.h>

#define RUN_LIMIT_S 180
#define SETUP_LIMIT (30 * 60 * (usec_t)USEC_PER_SEC)

struct board {
    const struct cli *cli;
    struct env_facts facts;
    const char *image;
    usec_t limit;
    size_t client_width, transport_width;
    bool live; /* a terminal: the row grows while its driver runs */
    VEC_OF(struct driver_run) rows;
    struct driver_run *now;
};

/* ---- the table */

static void put_cell(struct buf *b, const char *text, size_t width, const char *colour) {
    size_t w = text_width(text);
    buf_printf(b, "%s%s%s%*s  ", colour, text, *colour ? "\033[0m" : "",
               w < width ? (int)(width - w) : 0, "");
}

static size_t case_width(int i) {
    size_t w = strlen(driver_cases[i].head);
    return w < 4 ? 4 : w; /* FAIL */
}

static void put_line(struct board *t, struct buf *b, bool ended) {
    while (b->n && b->p[b->n - 1] == ' ') {
        b->n--;
    }
    printf("%s%.*s%s%s", t->live ? "\r" : "", (int)b->n, b->p, t->live ? "\033[K" : "",
           ended ? "\n" : "");
    fflush(stdout);
}

static void print_head(struct board *t) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    put_cell(&b, "CLIENT", t->client_width, "");
    put_cell(&b, "TRANSPORT", t->transport_width, "");
    put_cell(&b, "SCORE", 5, "");
    for (int i = 0; i < DRIVER_CASES; i++) {
        put_cell(&b, driver_cases[i].head, case_width(i), "");
    }
    put_cell(&b, "VERSION", 7, "");
    put_line(t, &b, true);
}

static void print_row(struct board *t, const struct driver_run *r, bool ended) {
    static const char *const words[] = {"", "ok", "FAIL", "n/a"};
    static const char *const colours[] = {"", "\033[32m", "\033[31m", "\033[2m"};
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    char score[24];
    bool waiting = !ended;
    put_cell(&b, r->driver->client, t->client_width, "");
    put_cell(&b, r->transport, t->transport_width, "");
    if (r->not_run) {
        buf_printf(&b, "not run: %s", r->not_run);
        put_line(t, &b, ended);
        return;
    }
    snprintf(score, sizeof(score), "%u/%u", r->ok, DRIVER_CASES - r->skipped);
    put_cell(&b, score, 5, t->cli->colour && r->failed ? "\033[31m" : "");
    for (int i = 0; i < DRIVER_CASES; i++) {
        enum driver_verdict v = r->cases[i].verdict;
        bool here = waiting && v == DRIVER_UNTOLD;
        waiting = waiting && !here;
        put_cell(&b, here ? "..." : words[v], case_width(i), t->cli->colour ? colours[v] : "");
    }
    put_cell(&b, r->version ? r->version : "", 7, "");
    put_line(t, &b, ended);
}

static void told(void *arg) {
    struct board *t = arg;
    if (t->live) {
        print_row(t, t->now, false);
    }
}

static bool same_failure(const struct driver_result *a, const struct driver_result *b) {
    return a->verdict == DRIVER_FAILED && b->verdict == DRIVER_FAILED &&
           strcmp(a->detail ? a->detail : "", b->detail ? b->detail : "") == 0;
}

/* Each reason of a run once, with all the cases it spoiled. */
static void print_failures(const struct driver_run *r, bool *any) {
    for (int k = 0; k < DRIVER_CASES; k++) {
        const struct driver_result *c = &r->cases[k];
        bool told_before = c->verdict != DRIVER_FAILED;
        for (int e = 0; e < k && !told_before; e++) {
            told_before = same_failure(&r->cases[e], c);
        }
        if (told_before) {
            continue;
        }
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        auto_buf struct buf names = BUF_INIT(BUF_NO_MAX);
        for (int e = k; e < DRIVER_CASES; e++) {
            if (e == k || same_failure(&r->cases[e], c)) {
                buf_printf(&names, "%s%s", names.n ? ", " : "", driver_cases[e].name);
            }
        }
        indent_text(&b, c->detail ? c->detail : "no reason given", "    ");
        printf("%s  %s %s %s\n%s", *any ? "" : "\nWhat failed:\n", r->driver->client, r->transport,
               buf_cstr(&names), buf_cstr(&b));
        *any = true;
    }
}

static void print_reasons(const struct board *t) {
    bool any = false;
    for (size_t i = 0; i < t->rows.n; i++) {
        print_failures(&t->rows.p[i], &any);
    }
    const char *last = NULL;
    for (size_t i = 0; i < t->rows.n; i++) {
        const struct driver_run *r = &t->rows.p[i];
        if (r->not_run && r->install && !(last && strcmp(last, r->install) == 0)) {
            printf("%s  %s: %s\n", last ? "" : "\nTo run what was not run:\n", r->driver->client,
                   r->install);
            last = r->install;
        }
    }
}

struct totals {
    unsigned ok, failed, rows, not_run;
};

static struct totals sum(const struct board *t) {
    struct totals s = {0};
    for (size_t i = 0; i < t->rows.n; i++) {
        const struct driver_run *r = &t->rows.p[i];
        s.ok += r->ok;
        s.failed += r->failed;
        s.not_run += r->not_run != NULL;
        s.rows++;
    }
    return s;
}

static json_t *row_json(const struct driver_run *r) {
    json_t *j = json_pack("{s:s, s:s}", "client", r->driver->client, "transport", r->transport);
    json_t *cases = json_object();
    if (r->version) {
        json_object_set_new(j, "version", json_string(r->version));
    }
    if (r->not_run) {
        json_object_set_new(j, "notRun", json_string(r->not_run));
        if (r->install) {
            json_object_set_new(j, "install", json_string(r->install));
        }
        json_decref(cases);
        return j;
    }
    for (int i = 0; i < DRIVER_CASES; i++) {
        const struct driver_result *c = &r->cases[i];
        json_t *one = c->verdict == DRIVER_SKIPPED
                          ? json_pack("{s:b}", "skipped", 1)
                          : json_pack("{s:b, s:f}", "ok", c->verdict == DRIVER_OK, "ms", c->ms);
        if (c->detail) {
            json_object_set_new(one, "detail", json_string(c->detail));
        }
        json_object_set_new(cases, driver_cases[i].name, one);
    }
    json_object_set_new(j, "cases", cases);
    json_object_set_new(j, "seconds", json_real(r->seconds));
    return j;
}

static void print_json(const struct board *t) {
    struct totals s = sum(t);
    json_t *rows = json_array();
    for (size_t i = 0; i < t->rows.n; i++) {
        json_array_append_new(rows, row_json(&t->rows.p[i]));
    }
    json_t *j = json_pack("{s:s, s:i, s:i, s:i, s:o}", "endpoint", t->facts.url, "passed", s.ok,
                          "failed", s.failed, "rowsNotRun", s.not_run, "rows", rows);
    out_json(j);
    json_decref(j);
}

/* ---- choosing */

/* word is in "a,b,c"; a transport also without its "+face". NULL: everything is. */
static bool is_chosen(const char *list, const char *word) {
    struct str rest = str_of(list), base = str_n(word, strcspn(word, "+"));
    bool found = !list;
    while (rest.p) {
        struct str one = str_trim(str_cut(&rest, ','));
        found |= str_eqc(one, word) || str_eq(one, base);
    }
    return found;
}

/* Every word of the list must mean something: a misspelt client would otherwise pass in silence. */
static int check_list(const struct drivers *d, const char *flag, const char *list, bool transports,
                      struct err *err) {
    struct str rest = str_of(list);
    while (rest.p) {
        auto_free char *word = str_dup(str_trim(str_cut(&rest, ',')));
        bool known = false;
        for (size_t i = 0; i < d->v.n; i++) {
            known |= !transports && strcmp(d->v.p[i].client, word) == 0;
            for (size_t k = 0; transports && k < d->v.p[i].transports.n; k++) {
                known |= is_chosen(word, d->v.p[i].transports.p[k]);
            }
        }
        if (!known) {
            auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
            for (size_t i = 0; i < d->v.n; i++) {
                buf_printf(&b, " %s", d->v.p[i].client);
            }
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: no %s \"%s\" (drivers:%s)", flag,
                           transports ? "driver has transport" : "driver", word, buf_cstr(&b));
        }
    }
    return 0;
}

/* Why this transport makes no sense here, or NULL. */
static const char *pointless(const struct env_facts *f, const char *transport) {
    struct str base = str_n(transport, strcspn(transport, "+"));
    bool tls = str_ends(base, STR("-tls"));
    return tls && !f->tls        ? "the server has no TLS (cusp tls init)"
           : tls && !f->trust.ca ? "the server's CA is not known (--ca)"
           : !tls && !f->clear   ? "the server takes TLS only"
                                 : NULL;
}

/* An image the jobs can run: busybox when it is there, else the smallest. Owned; NULL when there is
 * none or the endpoint is no cusp. */
static char *some_image(const struct cli *c) {
    json_t *j = NULL, *im;
    const char *best = NULL;
    uint64_t least = UINT64_MAX;
    size_t i;
    if (http_json(c, "GET", "/cusp/v1/images", NULL, &j, NULL)) {
        return NULL;
    }
    json_array_foreach(json_object_get(j, "images"), i, im) {
        const char *name = json_string_value(json_object_get(im, "name"));
        uint64_t n = UINT64_MAX - 1;
        (void)str_to_u64(str_of(json_string_value(json_object_get(im, "sizeBytes"))), &n);
        n = name && strncmp(name, "busybox", 7) == 0 ? 0 : n;
        if (name && n < least) {
            best = name;
            least = n;
        }
    }
    char *copy = xstrdup(best);
    json_decref(j);
    return copy;
}

/* ---- running */

struct environment {
    VEC_OF(char *) v;
};

static void environment_of(const struct board *t, const struct driver *d, struct environment *e) {
    const struct env_facts *f = &t->facts;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    vec_push(&e->v, xasprintf("CUSP_ENDPOINT=%s", f->url));
    vec_push(&e->v, xasprintf("CUSP_HOSTPORT=%s:%s", f->tls_host, f->port));
    if (f->trust.ca) {
        vec_push(&e->v, xasprintf("CUSP_CA=%s", f->trust.ca));
    }
    vec_push(&e->v, xasprintf("CUSP_PROJECT=%s", f->project));
    vec_push(&e->v, xasprintf("CUSP_LOCATION=%s", f->region));
    vec_push(&e->v, xasprintf("CUSP_IMAGE=%s", t->image));
    if (f->no_proxy) {
        vec_push(&e->v, xasprintf("NO_PROXY=%s", f->no_proxy));
        vec_push(&e->v, xasprintf("no_proxy=%s", f->no_proxy));
    }
    vec_push(&e->v, cache && *cache
                        ? xasprintf("CUSP_CLIENT_ENV=%s/cusp/clients/%s", cache, d->client)
                        : xasprintf("CUSP_CLIENT_ENV=%s/.cache/cusp/clients/%s", home ? home : "",
                                    d->client));
    vec_push(&e->v, NULL);
}

static void environment_fini(struct environment *e) {
    for (size_t i = 0; i < e->v.n; i++) {
        free(e->v.p[i]);
    }
    vec_fini(&e->v);
}

static int run_row(struct board *t, struct driver_run *r, char *const *env, struct err *err) {
    const char *why = pointless(&t->facts, r->transport);
    r->not_run = r->not_run ? r->not_run : xstrdup(why);
    t->now = r;
    if (!r->not_run) {
        told(t);
        if (driver_execute(r, env, t->limit, told, t, err)) {
            return -1;
        }
    }
    if (!t->cli->json) {
        print_row(t, r, true);
    }
    return 0;
}

static int run_driver(struct board *t, const struct driver *d, const char *transports, bool setup,
                      struct err *err) {
    struct environment e = {0};
    struct driver_run ready = {.driver = d, .transport = ""};
    int rc = 0;
    environment_of(t, d, &e);
    if (setup) {
        if (!t->cli->quiet) {
            fprintf(stderr, "preparing %s\n", d->client);
        }
        struct err why = {0};
        if (driver_setup(&ready, e.v.p, SETUP_LIMIT, &why)) { /* the others can still run */
            ready.not_run = xasprintf("setup failed: %.*s", (int)strcspn(why.msg, "\n"), why.msg);
        }
    }
    if (!ready.not_run) {
        rc = driver_check(&ready, e.v.p, err);
    }
    for (size_t i = 0; rc == 0 && i < d->transports.n; i++) {
        if (is_chosen(transports, d->transports.p[i])) {
            vec_push(&t->rows, ((struct driver_run){.driver = d,
                                                    .transport = d->transports.p[i],
                                                    .not_run = xstrdup(ready.not_run),
                                                    .install = xstrdup(ready.install)}));
            rc = run_row(t, &t->rows.p[t->rows.n - 1], e.v.p, err);
        }
    }
    driver_run_fini(&ready);
    environment_fini(&e);
    return rc;
}

static int run_all(struct board *t, const struct drivers *all, const struct args *a,
                   struct err *err) {
    const char *clients = args_get(a, "--client"), *transports = args_get(a, "--transport");
    if (check_list(all, "--client", clients, false, err) ||
        check_list(all, "--transport", transports, true, err)) {
        return -1;
    }
    t->client_width = 6;
    t->transport_width = 9;
    for (size_t i = 0; i < all->v.n; i++) {
        size_t w = strlen(all->v.p[i].client);
        t->client_width = w > t->client_width ? w : t->client_width;
        for (size_t k = 0; k < all->v.p[i].transports.n; k++) {
            w = strlen(all->v.p[i].transports.p[k]);
            t->transport_width = w > t->transport_width ? w : t->transport_width;
        }
    }
    if (!t->cli->json) {
        print_head(t);
    }
    for (size_t i = 0; i < all->v.n; i++) {
        if (is_chosen(clients, all->v.p[i].client) &&
            run_driver(t, &all->v.p[i], transports, args_on(a, "--setup"), err)) {
            return -1;
        }
    }
    return 0;
}

static int conclude(const struct board *t, bool strict) {
    struct totals s = sum(t);
    if (t->cli->json) {
        print_json(t);
    } else {
        print_reasons(t);
        printf("\n%u of %u cases passed in %u runs", s.ok, s.ok + s.failed, s.rows - s.not_run);
        printf(s.not_run ? "; %u not run\n" : "\n", s.not_run);
    }
    return s.failed || (strict && s.not_run) || s.rows == s.not_run ? EXIT_FAILED : EXIT_OK;
}

static int play(struct board *t, const struct args *a, struct err *err) {
    static const char *const places[] = {"../tests/clients", "../share/cusp/conformance"};
    auto_drivers struct drivers all = {0};
    auto_free char *beside = find_beside(places, NR_OF(places));
    const char *folder = args_get(a, "--drivers") ? args_get(a, "--drivers") : beside;
    if (!folder) {
        return err_set(err, ERR_NOT_FOUND,
                       "the client drivers are not installed beside this program; --drivers DIR "
                       "names them (tests/clients of the source)");
    }
    if (drivers_find(folder, &all, err)) {
        return -1;
    }
    if (!all.v.n) {
        return err_set(err, ERR_NOT_FOUND, "no client drivers in %s", folder);
    }
    int rc = run_all(t, &all, a, err);
    rc = rc ? rc : conclude(t, args_on(a, "--strict"));
    for (size_t i = 0; i < t->rows.n; i++) {
        driver_run_fini(&t->rows.p[i]);
    }
    vec_fini(&t->rows);
    return rc;
}

int cmd_conformance(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--client"},
                           {.name = "--transport"},
                           {.name = "--ca"},
                           {.name = "--data-dir"},
                           {.name = "--image"},
                           {.name = "--drivers"},
                           {.name = "--timeout"},
                           {.name = "--setup", .is_bool = true},
                           {.name = "--strict", .is_bool = true}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    auto_facts struct env_facts facts = {0};
    uint64_t limit = RUN_LIMIT_S;
    if (args_parse_flags(&a, argc, argv, err)) {
        return -1;
    }
    if (args_get(&a, "--timeout") &&
        (!str_to_u64(str_of(args_get(&a, "--timeout")), &limit) || !limit || limit > 3600)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--timeout is 1 to 3600 seconds a run");
    }
    if (env_find(&facts, c, args_get(&a, "--ca"), args_get(&a, "--data-dir"), err)) {
        return -1;
    }
    auto_free char *found = args_get(&a, "--image") ? NULL : some_image(c);
    struct board t = {.cli = c,
                      .facts = facts,
                      .image = found ? found : args_get(&a, "--image"),
                      .limit = limit * USEC_PER_SEC,
                      .live = isatty(STDOUT_FILENO) && !c->json && !c->quiet};
    if (!t.image) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "%s has no image for the clients' jobs to run: cusp images import or build "
                       "makes one (any that has sh), --image names one",
                       c->endpoint);
    }
    return play(&t, &a, err);
}
