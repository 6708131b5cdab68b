/* cusp logging: entries as Cloud Logging has them, with gcloud's words. */
#include "cli/cli.h"
#include "cli/logformat.h"

#include "base/map.h"

#include <unistd.h>

#define PAGE 1000
#define LOOK_PAUSE_US 250000         /* between looks of tail */
#define LOOK_BACK (2 * USEC_PER_SEC) /* replicas write late by what their runners take */
#define DAY ((usec_t)86400 * USEC_PER_SEC)

struct reading {
    const struct cli *c;
    struct log_fields fields;
    bool has_fields, is_first;
    struct buf line;
};

static const char *id_of(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

/* "2h", "30m", "1d", "90" (seconds). */
static int parse_freshness(const char *text, usec_t *ret, struct err *err) {
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = {{"w", 604800}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}, {"", 1}};
    struct str s = str_of(text);
    for (size_t i = 0; i < NR_OF(units); i++) {
        size_t u = strlen(units[i].unit);
        uint64_t n;
        if (s.n > u && str_ends(s, str_of(units[i].unit)) &&
            str_to_u64(str_sub(s, 0, s.n - u), &n) && n > 0 && n < 100000000) {
            *ret = n * units[i].seconds * USEC_PER_SEC;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "--freshness is a time like 30m, 2h, 1d or 1w, not \"%s\"", text);
}

/* ---- the filter */

static void and_text(struct buf *b, const char *key, const char *value) {
    buf_printf(b, "%s%s=\"%s\"", b->n ? " AND " : "", key, value);
}

static void and_since(struct buf *b, usec_t t) {
    auto_buf struct buf text = BUF_INIT(64);
    time_format_rfc3339_nano(&text, t);
    buf_printf(b, "%stimestamp>=\"%s\"", b->n ? " AND " : "", buf_cstr(&text));
}

/* The user's words before what the flags say: then the server's errors give their positions (one
 * on, when there are flags). In brackets, their end on a line of its own: they may have ORs and
 * comments. */
static void with_words(struct buf *b, struct str words) {
    auto_buf struct buf flags = BUF_INIT(1 << 20);
    if (!str_trim(words).n) {
        return;
    }
    buf_put_str(&flags, buf_str(b));
    buf_clear(b);
    if (flags.n) {
        buf_printf(b, "(%.*s\n) AND %s", STR_ARG(words), buf_cstr(&flags));
    } else {
        buf_put_str(b, words);
    }
}

static int flag_filter(const struct args *a, struct buf *b, struct err *err) {
    static const struct {
        const char *flag, *key;
        bool is_name;
    } keys[] = {{"--job", "resource.labels.job_id", true},
                {"--task-name", "resource.labels.task_name", false}};
    for (size_t i = 0; i < NR_OF(keys); i++) {
        const char *v = args_get(a, keys[i].flag);
        if (v && strpbrk(v, "\"\\")) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%s\" is no name", keys[i].flag, v);
        }
        if (v) {
            and_text(b, keys[i].key, keys[i].is_name ? id_of(v) : v);
        }
    }
    const char *severity = args_get(a, "--severity");
    if (severity &&
        (!*severity || strspn(severity, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") !=
                           strlen(severity))) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--severity: \"%s\" is none", severity);
    }
    if (severity) {
        buf_printf(b, "%sseverity>=%s", b->n ? " AND " : "", severity);
    }
    return 0;
}

/* ---- what is shown */

static void print_plain(struct reading *r, json_t *entry) {
    const char *time = json_string_value(json_object_get(entry, "timestamp"));
    const char *severity = log_severity_of(entry);
    const char *col = !r->c->colour                      ? ""
                      : strcmp(severity, "WARNING") == 0 ? "\033[33m"
                      : strcmp(severity, "ERROR") == 0 || strcmp(severity, "CRITICAL") == 0
                          ? "\033[31m"
                          : "";
    struct str rest, line;
    buf_clear(&r->line);
    log_message_put(entry, &r->line);
    rest = buf_str(&r->line);
    line = str_cut(&rest, '\n');
    const char *trial = json_string_value(
        json_object_get(json_object_get(entry, "labels"), "ml.googleapis.com/trial_id"));
    auto_free char *task =
        xasprintf("%s%s%s", trial ? trial : "", trial ? "/" : "", log_task_of(entry));
    printf("%s%-8s  %.23s  %-14s  ", col, severity, time ? time : "", task);
    fwrite(line.p ? line.p : "", 1, line.n, stdout);
    while (rest.p) { /* under the first line's words */
        line = str_cut(&rest, '\n');
        printf("\n%*s", line.n ? 51 : 0, "");
        fwrite(line.p ? line.p : "", 1, line.n, stdout);
    }
    printf("%s\n", col[0] ? "\033[0m" : "");
}

static void print_entry(struct reading *r, json_t *entry, bool in_list) {
    if (r->has_fields) {
        buf_clear(&r->line);
        log_fields_put(&r->fields, entry, &r->line);
        fwrite(r->line.p ? r->line.p : "", 1, r->line.n, stdout);
        putchar('\n');
    } else if (r->c->json && in_list) { /* one list, an entry at a time */
        fputs(r->is_first ? "[\n" : ",\n", stdout);
        auto_free char *text = json_shown(entry, 2);
        fputs(text, stdout);
    } else if (r->c->json) {
        out_json_line(entry);
    } else {
        print_plain(r, entry);
    }
    r->is_first = false;
}

static int reading_begin(struct reading *r, const struct cli *c, struct err *err) {
    *r = (struct reading){.c = c, .is_first = true, .line = BUF_INIT(BUF_NO_MAX)};
    if (c->format && !c->json) {
        r->has_fields = true;
        return log_fields_parse(&r->fields, str_of(c->format), err);
    }
    return 0;
}

static void reading_end(struct reading *r) {
    log_fields_fini(&r->fields);
    buf_fini(&r->line);
}

/* ---- pages */

/* One page; *token is the next one's, NULL at the end. */
static int get_page(const struct cli *c, const char *filter, const char *order, int size,
                    char **token, json_t **ret, struct err *err) {
    json_t *body = json_pack("{s:[o], s:s, s:s, s:i}", "resourceNames",
                             json_sprintf("projects/%s", c->project), "filter", filter, "orderBy",
                             order, "pageSize", size);
    if (*token) {
        json_object_set_new(body, "pageToken", json_string(*token));
    }
    int rc = http_json(c, "POST", "/v2/entries:list", body, ret, err);
    json_decref(body);
    free(*token);
    *token = NULL;
    if (rc == 0) {
        const char *next = json_string_value(json_object_get(*ret, "nextPageToken"));
        *token = next && *next ? xstrdup(next) : NULL;
    }
    return rc;
}

static int read_entries(struct reading *r, const char *filter, const char *order, uint64_t limit,
                        struct err *err) {
    auto_free char *token = NULL;
    uint64_t shown = 0;
    do {
        json_t *page = NULL, *entry;
        size_t i;
        uint64_t left = limit - shown;
        if (get_page(r->c, filter, order, left < PAGE ? (int)left : PAGE, &token, &page, err)) {
            return -1;
        }
        json_array_foreach(json_object_get(page, "entries"), i, entry) {
            if (shown < limit) {
                print_entry(r, entry, true);
                shown++;
            }
        }
        json_decref(page);
        if (ferror(stdout)) {
            return err_set(err, ERR_UNKNOWN, "the entries could not be written out");
        }
    } while (token && shown < limit);
    if (r->c->json && !r->has_fields) {
        puts(r->is_first ? "[]" : "\n]");
    }
    return 0;
}

static int words_of(const struct args *a, const char *usage, struct str *ret, struct err *err) {
    if (a->nr_words > 1) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: %s (the filter is one word: quote it)",
                       usage);
    }
    *ret = a->nr_words ? str_of(a->words[0]) : STR("");
    return 0;
}

static int cmd_read(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--limit"}, {.name = "--order"},     {.name = "--freshness"},
                           {.name = "--job"},   {.name = "--task-name"}, {.name = "--severity"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    auto_buf struct buf filter = BUF_INIT(1 << 20);
    struct str words;
    uint64_t limit = UINT64_MAX;
    usec_t fresh = DAY;
    if (args_parse(&a, argc, argv, err) ||
        words_of(&a, "cusp logging read [FILTER] [flags]", &words, err) ||
        flag_filter(&a, &filter, err)) {
        return -1;
    }
    const char *order = args_get(&a, "--order"), *n = args_get(&a, "--limit");
    const char *freshness = args_get(&a, "--freshness");
    if (n && (!str_to_u64(str_of(n), &limit) || !limit)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--limit is a number above 0, not \"%s\"", n);
    }
    if (order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--order is asc or desc, not \"%s\"", order);
    }
    if (freshness && parse_freshness(freshness, &fresh, err)) {
        return -1;
    }
    bool ascending = order && strcmp(order, "asc") == 0;
    /* As gcloud: newest first, and no older than a day unless times are asked for. */
    bool has_times = str_find(words, STR("timestamp")) >= 0 || args_get(&a, "--job");
    usec_t now = time_wall();
    if (freshness || (!ascending && !has_times)) {
        and_since(&filter, now > fresh ? now - fresh : 0);
    }
    with_words(&filter, words);
    struct reading r;
    int rc = reading_begin(&r, c, err) ||
             read_entries(&r, buf_cstr(&filter), ascending ? "timestamp asc" : "timestamp desc",
                          limit, err);
    reading_end(&r);
    return rc ? -1 : 0;
}

/* ---- tail: looks again and again, a little back, and leaves out what it has shown */

struct tail {
    struct reading r;
    struct map seen, before; /* two generations of what was shown */
    usec_t turned, from;
};

static bool is_new(struct tail *t, json_t *entry) {
    const char *id = json_string_value(json_object_get(entry, "insertId"));
    const char *time = json_string_value(json_object_get(entry, "timestamp"));
    const char *log = json_string_value(json_object_get(entry, "logName"));
    auto_free char *key = xasprintf("%s %s %s", time ? time : "", id ? id : "", log ? log : "");
    if (map_get(&t->seen, str_of(key)) || map_get(&t->before, str_of(key))) {
        return false;
    }
    map_put(&t->seen, str_of(key), t);
    return true;
}

static void turn(struct tail *t, usec_t now) {
    if (now > t->turned + 2 * LOOK_BACK) {
        map_fini(&t->before);
        t->before = t->seen;
        map_init(&t->seen);
        t->turned = now;
    }
}

static int look(struct tail *t, struct str base, struct err *err) {
    auto_free char *token = NULL;
    auto_buf struct buf filter = BUF_INIT(1 << 20);
    usec_t began = time_wall();
    and_since(&filter, t->from);
    if (base.n) {
        buf_printf(&filter, " AND %.*s", STR_ARG(base));
    }
    do {
        json_t *page = NULL, *entry;
        size_t i;
        if (get_page(t->r.c, buf_cstr(&filter), "timestamp asc", PAGE, &token, &page, err)) {
            return -1;
        }
        json_array_foreach(json_object_get(page, "entries"), i, entry) {
            if (is_new(t, entry)) {
                print_entry(&t->r, entry, false);
            }
        }
        json_decref(page);
    } while (token && !ferror(stdout));
    fflush(stdout);
    if (ferror(stdout)) {
        return err_set(err, ERR_UNKNOWN, "the entries could not be written out");
    }
    turn(t, began);
    t->from = began - LOOK_BACK > t->from ? began - LOOK_BACK : t->from;
    return 0;
}

static int cmd_tail(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--job"},
                           {.name = "--task-name"},
                           {.name = "--severity"},
                           {.name = "--buffer-window"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    auto_buf struct buf base = BUF_INIT(1 << 20);
    struct str words;
    if (args_parse(&a, argc, argv, err) ||
        words_of(&a, "cusp logging tail [FILTER] [flags]", &words, err) ||
        flag_filter(&a, &base, err)) {
        return -1;
    }
    with_words(&base, words);
    struct tail t = {.from = time_wall(), .turned = time_wall()};
    struct outage out = {0};
    struct err e = {0};
    map_init(&t.seen);
    map_init(&t.before);
    int rc = reading_begin(&t.r, c, err);
    while (rc == 0) {
        if (look(&t, buf_str(&base), &e) == 0) {
            out = (struct outage){.reached = true};
            usleep(LOOK_PAUSE_US);
        } else if (!server_may_return(c, &e, &out)) {
            *err = e;
            rc = -1;
        }
    }
    reading_end(&t.r);
    map_fini(&t.seen);
    map_fini(&t.before);
    return rc;
}

int job_entries(const struct cli *c, const char *job_id, const char *task, bool follow,
                bool (*is_over)(void *arg), void *arg, struct err *err) {
    auto_buf struct buf base = BUF_INIT(1 << 20);
    struct tail t = {.turned = time_wall()};
    struct outage out = {0};
    struct err e = {0};
    and_text(&base, "resource.labels.job_id", job_id);
    if (task) {
        and_text(&base, "resource.labels.task_name", task);
    }
    map_init(&t.seen);
    map_init(&t.before);
    int rc = reading_begin(&t.r, c, err);
    for (bool over = false; rc == 0 && !over;) {
        bool ends = !follow || is_over(arg); /* asked first: what comes until then is shown */
        if (look(&t, buf_str(&base), &e) == 0) {
            out = (struct outage){.reached = true};
            over = ends;
            usleep(over ? 0 : LOOK_PAUSE_US);
        } else if (!server_may_return(c, &e, &out)) {
            *err = e;
            rc = -1;
        }
    }
    reading_end(&t.r);
    map_fini(&t.seen);
    map_fini(&t.before);
    return rc;
}

/* ---- logs, write */

static int cmd_logs(const struct cli *c, int argc, char **argv, struct err *err) {
    bool is_list = argc == 1 && strcmp(argv[0], "list") == 0;
    bool is_delete = argc == 2 && strcmp(argv[0], "delete") == 0;
    auto_free char *project = http_escape(str_of(c->project));
    if (is_delete) {
        /* A full name has its slashes escaped already. */
        auto_free char *escaped = http_escape(str_of(argv[1]));
        auto_free char *log = http_escape(
            str_of(str_starts(str_of(argv[1]), STR("projects/")) ? id_of(argv[1]) : escaped));
        auto_free char *path = xasprintf("/v2/projects/%s/logs/%s", project, log);
        if (http_json(c, "DELETE", path, NULL, NULL, err)) {
            return -1;
        }
        if (!c->quiet) {
            fprintf(stderr, "Deleted %s\n", argv[1]);
        }
        return 0;
    }
    if (!is_list) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp logging logs list, cusp logging logs delete LOG");
    }
    auto_free char *token = xstrdup("");
    json_t *all = json_array();
    do {
        auto_free char *escaped = http_escape(str_of(token));
        auto_free char *path = xasprintf("/v2/projects/%s/logs?pageToken=%s", project, escaped);
        json_t *page = NULL, *name;
        size_t i;
        if (http_json(c, "GET", path, NULL, &page, err)) {
            json_decref(all);
            return -1;
        }
        json_array_foreach(json_object_get(page, "logNames"), i, name) {
            json_array_append(all, name);
            if (!c->json) {
                printf("%s\n", json_string_value(name));
            }
        }
        const char *next = json_string_value(json_object_get(page, "nextPageToken"));
        free(token);
        token = xstrdup(next ? next : "");
        json_decref(page);
    } while (*token);
    if (c->json) {
        out_json(all);
    }
    json_decref(all);
    return 0;
}

static int cmd_write(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--severity"}, {.name = "--payload-type"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    const char *type = args_get(&a, "--payload-type"), *severity = args_get(&a, "--severity");
    bool is_json = type && strcmp(type, "json") == 0;
    if (a.nr_words != 2 || (type && !is_json && strcmp(type, "text") != 0)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "usage: cusp logging write LOG MESSAGE [--severity=WARNING] "
                       "[--payload-type=text|json]");
    }
    json_error_t why;
    json_t *payload = is_json ? json_loads(a.words[1], 0, &why) : json_string(a.words[1]);
    if (!json_is_object(payload) && is_json) {
        json_decref(payload);
        return err_set(err, ERR_INVALID_ARGUMENT, "MESSAGE is no JSON object");
    }
    if (!payload) {
        return err_set(err, ERR_INVALID_ARGUMENT, "MESSAGE is not UTF-8");
    }
    json_t *entry = json_object();
    json_object_set_new(entry, is_json ? "jsonPayload" : "textPayload", payload);
    if (severity) {
        json_object_set_new(entry, "severity", json_string(severity));
    }
    auto_free char *log = http_escape(str_of(a.words[0]));
    json_t *body = json_pack("{s:o, s:{s:s}, s:[o]}", "logName",
                             json_sprintf("projects/%s/logs/%s", c->project, log), "resource",
                             "type", "global", "entries", entry);
    int rc = http_json(c, "POST", "/v2/entries:write", body, NULL, err);
    json_decref(body);
    if (rc == 0 && !c->quiet) {
        fprintf(stderr, "Created log entry.\n");
    }
    return rc;
}

int cmd_logging(const struct cli *c, int argc, char **argv, struct err *err) {
    static const struct {
        const char *verb;
        int (*run)(const struct cli *, int, char **, struct err *);
    } verbs[] = {{"read", cmd_read}, {"tail", cmd_tail}, {"logs", cmd_logs}, {"write", cmd_write}};
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        if (strcmp(argv[0], verbs[i].verb) == 0) {
            return verbs[i].run(c, argc - 1, argv + 1, err);
        }
    }
    return no_verb("logging", argv[0], err);
}
