/* Configuration: one table drives the file parser, the flags, --help and --check-config. */
#include "cuspd/config.h"

#include "base/limits.h"
#include "base/near.h"

#include <errno.h>

enum type { TEXT, BOOL, U64 };

struct option {
    const char *section, *name, *def, *what;
    enum type type;
    size_t offset;
};

#define OPT(section, name, type, def, what)                                                        \
    { section, #name, def, what, type, offsetof(struct config, name) }

static const struct option options[] = {
    OPT("server", data_dir, TEXT, "", "directory of everything cusp keeps (required)"),
    OPT("server", listen, TEXT, "127.0.0.1:8780", "address and port; port 0 takes a free one"),
    OPT("server", host_names, TEXT, "",
        "names that clients call this server by, a.example,b.example, beside localhost, names "
        "without a "
        "dot and Google's: others are refused, for a web page may stand behind them"),
    OPT("server", tls, TEXT, "optional",
        "optional: TLS and clear text on the one port; required: TLS only; off: clear text only"),
    OPT("server", tls_cert, TEXT, "",
        "certificate chain, PEM; empty: DATA_DIR/tls/server.pem (`cusp tls init` makes it)"),
    OPT("server", tls_key, TEXT, "", "its key, PEM; empty: DATA_DIR/tls/server.key"),
    OPT("server", auth, TEXT, "none", "none: no credentials are asked (loopback addresses only)"),
    OPT("server", log_level, TEXT, "info", "debug, info, warning, error"),
    OPT("server", test_retry_api, BOOL, "false",
        "for tests of storage clients only: /retry_test makes calls fail on demand"),
    OPT("server", log_json, BOOL, "false", "log lines as JSON"),
    OPT("engine", engine, TEXT, "local",
        "local: containers on this host; fake: scripted, for tests"),
    OPT("engine", runtime, TEXT, "auto", "auto, crun, runc or the path of an OCI runtime"),
    OPT("engine", runner, TEXT, "", "path of cusp-runner; empty: beside cuspd"),
    OPT("engine", network, TEXT, "bridge", "bridge (own address, NAT), host, none"),
    OPT("engine", subnet, TEXT, "10.201.0.0/16", "addresses of replicas on the bridge"),
    OPT("engine", transparent, TEXT, "on",
        "on: in containers the names of Google's APIs lead here, TLS included; off: only "
        "variables"),
    OPT("engine", cpu_milli, U64, "0", "CPU for jobs in thousandths; 0: the host's"),
    OPT("engine", mem_mb, U64, "0", "memory for jobs in MiB; 0: the host's less a reserve"),
    OPT("engine", aliases_file, TEXT, "", "more image aliases, \"PATTERN = IMAGE\" a line"),
    OPT("engine", warm_python, TEXT, "asked",
        "Python tasks that start from the memory of a Python that has imported their modules "
        "already: off, asked (jobs with the label cusp-warm-python=true), all"),
    OPT("engine", warm_imports, TEXT, "",
        "those modules, a,b.c, for jobs that do not name theirs (label cusp-warm-imports)"),
    OPT("images", pull, TEXT, "missing",
        "images of other registries: missing (a tag that is here is used), always (tags are looked "
        "up "
        "there for every job), never (offline)"),
    OPT("images", docker_config, TEXT, "",
        "docker's config.json, for its credentials; empty: $DOCKER_CONFIG or ~/.docker"),
    OPT("jobs", strict_machines, BOOL, "false",
        "refuse machine types larger than this host instead of clamping"),
    OPT("jobs", max_running, U64, "0", "replicas running at once; 0: by capacity only"),
    OPT("jobs", hold, BOOL, "false", "accept jobs but start none"),
    OPT("jobs", stop_grace_s, U64, "30",
        "seconds between SIGTERM and SIGKILL when a job is stopped"),
    OPT("logs", logs, TEXT, "recognise",
        "severity of captured lines: recognise (by what they say) or strict (stderr is ERROR)"),
    OPT("logs", drop_deleted_logs, BOOL, "false",
        "the log of a deleted job goes with it; false: it stays as long as others do"),
};

static const struct option *find(struct str section, struct str name) {
    for (size_t i = 0; i < NR_OF(options); i++) {
        if ((!section.p || str_eqc(section, options[i].section)) &&
            str_eqc(name, options[i].name)) {
            return &options[i];
        }
    }
    return NULL;
}

static int set(struct config *c, const struct option *o, struct str value, struct err *err) {
    void *at = (char *)c + o->offset;
    switch (o->type) {
    case TEXT:
        free(*(char **)at);
        *(char **)at = str_dup(value);
        return 0;
    case BOOL:
        if (!str_eqc(value, "true") && !str_eqc(value, "false")) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%.*s\" is neither true nor false",
                           o->name, STR_ARG(value));
        }
        *(bool *)at = str_eqc(value, "true");
        return 0;
    case U64:
        if (!str_to_u64(value, at)) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s: \"%.*s\" is not a number", o->name,
                           STR_ARG(value));
        }
        return 0;
    }
    return 0;
}

static int set_limit(struct str name, struct str value, struct err *err) {
    char key[64];
    uint64_t v;
    snprintf(key, sizeof(key), "%.*s", STR_ARG(name));
    if (!str_to_u64(value, &v) || !limits_set(key, v)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "limits: no limit \"%s\", or \"%.*s\" is not a number", key, STR_ARG(value));
    }
    return 0;
}

/* A bucket named again gets the newer path: flags override the file. */
static int set_bucket(struct config *c, struct str name, struct str path, struct err *err) {
    if (!path.n || path.p[0] != '/') {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "bucket %.*s: the path must be absolute: \"%.*s\"", STR_ARG(name),
                       STR_ARG(path));
    }
    for (size_t i = 0; i < c->nr_buckets; i++) {
        if (str_eqc(name, c->buckets[i].name)) {
            free(c->buckets[i].path);
            c->buckets[i].path = str_dup(path);
            return 0;
        }
    }
    c->buckets = xrealloc_array(c->buckets, c->nr_buckets + 1, sizeof(*c->buckets));
    c->buckets[c->nr_buckets++] =
        (struct config_bucket){.name = str_dup(name), .path = str_dup(path)};
    return 0;
}

static struct config_registry *registry_of(struct config *c, struct str host) {
    for (size_t i = 0; i < c->nr_registries; i++) {
        if (str_eqc(host, c->registries[i].host)) {
            return &c->registries[i];
        }
    }
    c->registries = xrealloc_array(c->registries, c->nr_registries + 1, sizeof(*c->registries));
    struct config_registry *r = &c->registries[c->nr_registries++];
    *r = (struct config_registry){.host = str_dup(host),
                                  .mirrors = xstrdup(""),
                                  .ca = xstrdup(""),
                                  .username = xstrdup(""),
                                  .password = xstrdup("")};
    for (char *p = r->host; *p; p++) {
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    }
    return r;
}

static int read_password(const char *path, char **ret, struct err *err) {
    char line[4096] = "";
    FILE *f = fopen(path, "re");
    if (!f) {
        return err_sys(err, errno, "open password_file %s", path);
    }
    char *got = fgets(line, sizeof(line), f);
    fclose(f);
    if (!got) {
        return err_set(err, ERR_INVALID_ARGUMENT, "password_file %s is empty", path);
    }
    line[strcspn(line, "\r\n")] = 0;
    free(*ret);
    *ret = xstrdup(line);
    return 0;
}

static int set_registry(struct config *c, struct str host, struct str key, struct str value,
                        struct err *err) {
    static const char keys[] = "mirrors, insecure, ca, username, password, password_file";
    if (!host.n || str_chr(host, '/') >= 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "[registry %.*s]: a registry is HOST or HOST:PORT, as in an image's name",
                       STR_ARG(host));
    }
    struct config_registry *r = registry_of(c, host);
    char **to = str_eqc(key, "mirrors")    ? &r->mirrors
                : str_eqc(key, "ca")       ? &r->ca
                : str_eqc(key, "username") ? &r->username
                : str_eqc(key, "password") ? &r->password
                                           : NULL;
    if (value.p && to) {
        free(*to);
        *to = str_dup(value);
        return 0;
    }
    if (value.p && str_eqc(key, "password_file")) {
        auto_free char *path = str_dup(value);
        return read_password(path, &r->password, err);
    }
    if (value.p && str_eqc(key, "insecure")) {
        if (!str_eqc(value, "true") && !str_eqc(value, "false")) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "insecure: \"%.*s\" is neither true nor false", STR_ARG(value));
        }
        r->insecure = str_eqc(value, "true");
        return 0;
    }
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "no option \"%.*s\" in section [registry %.*s]: it has %s", STR_ARG(key),
                   STR_ARG(host), keys);
}

static int load_file(struct config *c, const char *path, struct err *err) {
    FILE *f = fopen(path, "re");
    char line[4096];
    char section[256] = "";
    int no = 0, rc = 0;
    if (!f) {
        return err_sys(err, errno, "open config file %s", path);
    }
    while (rc == 0 && fgets(line, sizeof(line), f)) {
        struct str s = str_trim(str_n(line, strcspn(line, "#\r\n")));
        no++;
        if (!s.n) {
            continue;
        }
        if (s.p[0] == '[' && s.p[s.n - 1] == ']') {
            snprintf(section, sizeof(section), "%.*s", (int)s.n - 2, s.p + 1);
            continue;
        }
        struct str value = s;
        struct str key = str_trim(str_cut(&value, '='));
        value = str_trim(value);
        const struct option *o = find(str_of(section), key);
        if (strcmp(section, "limits") == 0) {
            rc = set_limit(key, value, err);
        } else if (strncmp(section, "bucket ", 7) == 0 && str_eqc(key, "path")) {
            rc = set_bucket(c, str_trim(str_of(section + 7)), value, err);
        } else if (strncmp(section, "registry ", 9) == 0) {
            rc = set_registry(c, str_trim(str_of(section + 9)), key, value, err);
        } else if (!value.p || !o) {
            rc = err_set(err, ERR_INVALID_ARGUMENT, "no option \"%.*s\" in section [%s]",
                         STR_ARG(key), section);
        } else {
            rc = set(c, o, value, err);
        }
        if (rc) {
            err_wrap(err, "%s:%d", path, no);
        }
    }
    fclose(f);
    return rc;
}

static int no_option(struct str name, const char *typed, struct err *err) {
    static const char *const others[] = {"limit",        "bucket",  "config",
                                         "check_config", "version", "help"};
    struct near near = {.typed = name};
    for (size_t i = 0; i < NR_OF(options); i++) {
        near_try(&near, options[i].name);
    }
    for (size_t i = 0; i < NR_OF(others); i++) {
        near_try(&near, others[i]);
    }
    const char *meant = near_best(&near);
    auto_free char *words = meant ? xasprintf("; did you mean --%s", meant) : xstrdup("");
    for (char *p = words; *p; p++) {
        *p = *p == '_' ? '-' : *p;
    }
    return err_set(err, ERR_INVALID_ARGUMENT, "unknown option %s%s (see --help)", typed, words);
}

/* "--data-dir" and "--data-dir=X" both; '-' and '_' are the same. */
static int flag(struct config *c, int argc, char **argv, int *i, struct err *err) {
    char name[64];
    struct str arg = str_of(argv[*i] + 2), value = arg;
    struct str key = str_cut(&value, '=');
    snprintf(name, sizeof(name), "%.*s", STR_ARG(key));
    for (char *p = name; *p; p++) {
        *p = *p == '-' ? '_' : *p;
    }
    const struct option *o = find((struct str){NULL, 0}, str_of(name));
    bool is_limit = strcmp(name, "limit") == 0, is_bucket = strcmp(name, "bucket") == 0;
    if (!o && !is_limit && !is_bucket) {
        return no_option(str_of(name), argv[*i], err);
    }
    if (!value.p && o && o->type == BOOL) {
        value = STR("true");
    } else if (!value.p) {
        if (*i + 1 >= argc) {
            return err_set(err, ERR_INVALID_ARGUMENT, "option %s needs a value", argv[*i]);
        }
        value = str_of(argv[++*i]);
    }
    if (is_limit) {
        struct str v = value;
        struct str k = str_cut(&v, '=');
        return set_limit(k, v, err);
    }
    if (is_bucket) {
        struct str v = value;
        struct str k = str_cut(&v, '=');
        return set_bucket(c, k, v, err);
    }
    return set(c, o, value, err);
}

/* Of "--config FILE" or "--config=FILE"; NULL: it is neither. */
static const char *config_path(const char *arg, const char *next) {
    return strcmp(arg, "--config") == 0 ? next : strncmp(arg, "--config=", 9) == 0 ? arg + 9 : NULL;
}

int config_load(struct config *c, int argc, char **argv, struct err *err) {
    *c = (struct config){0};
    for (size_t i = 0; i < NR_OF(options); i++) {
        if (set(c, &options[i], str_of(options[i].def), err)) {
            return -1;
        }
    }
    for (int i = 1; i < argc; i++) { /* the file first: flags override it wherever they stand */
        const char *path = config_path(argv[i], argv[i + 1]);
        if (path && load_file(c, path, err)) {
            return -1;
        }
    }
    for (int i = 1; i < argc; i++) {
        if (config_path(argv[i], argv[i + 1])) {
            i += !strchr(argv[i], '=');
        } else if (strcmp(argv[i], "--config") == 0) {
            return err_set(err, ERR_INVALID_ARGUMENT, "option --config needs a value");
        } else if (strcmp(argv[i], "--check-config") == 0) {
            c->check_only = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            c->show_help = true;
        } else if (strcmp(argv[i], "--version") == 0) {
            c->show_version = true;
        } else if (strncmp(argv[i], "--", 2) != 0) {
            return err_set(err, ERR_INVALID_ARGUMENT, "unexpected argument \"%s\" (see --help)",
                           argv[i]);
        } else if (flag(c, argc, argv, &i, err)) {
            return -1;
        }
    }
    if (strcmp(c->tls, "required") != 0 && strcmp(c->tls, "optional") != 0 &&
        strcmp(c->tls, "off") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "tls: \"%s\" is none of required, optional, off",
                       c->tls);
    }
    if (strcmp(c->logs, "recognise") != 0 && strcmp(c->logs, "strict") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "logs: \"%s\" is neither recognise nor strict",
                       c->logs);
    }
    if (strcmp(c->transparent, "on") != 0 && strcmp(c->transparent, "off") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "transparent: \"%s\" is neither on nor off",
                       c->transparent);
    }
    if (strcmp(c->warm_python, "off") != 0 && strcmp(c->warm_python, "asked") != 0 &&
        strcmp(c->warm_python, "all") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "warm_python: \"%s\" is none of off, asked, all",
                       c->warm_python);
    }
    if (strcmp(c->pull, "missing") != 0 && strcmp(c->pull, "always") != 0 &&
        strcmp(c->pull, "never") != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "pull: \"%s\" is none of missing, always, never",
                       c->pull);
    }
    if (!c->data_dir[0] && !c->show_help && !c->show_version && !c->check_only) {
        return err_set(
            err, ERR_INVALID_ARGUMENT,
            "--data-dir is required: the directory where jobs, logs, objects and images are kept");
    }
    return 0;
}

void config_free(struct config *c) {
    for (size_t i = 0; i < NR_OF(options); i++) {
        if (options[i].type == TEXT) {
            free(*(char **)((char *)c + options[i].offset));
        }
    }
    for (size_t i = 0; i < c->nr_buckets; i++) {
        free(c->buckets[i].name);
        free(c->buckets[i].path);
    }
    free(c->buckets);
    for (size_t i = 0; i < c->nr_registries; i++) {
        struct config_registry *r = &c->registries[i];
        free(r->host);
        free(r->mirrors);
        free(r->ca);
        free(r->username);
        free(r->password);
    }
    free(c->registries);
}

static void print_value(const struct config *c, const struct option *o, struct buf *out) {
    const void *at = (const char *)c + o->offset;
    switch (o->type) {
    case TEXT:
        buf_puts(out, *(char *const *)at);
        break;
    case BOOL:
        buf_puts(out, *(const bool *)at ? "true" : "false");
        break;
    case U64:
        buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    }
}

void config_print(const struct config *c, struct buf *out) {
    const char *section = "";
    for (size_t i = 0; i < NR_OF(options); i++) {
        if (strcmp(section, options[i].section) != 0) {
            section = options[i].section;
            buf_printf(out, "%s[%s]\n", i ? "\n" : "", section);
        }
        buf_printf(out, "%s = ", options[i].name);
        print_value(c, &options[i], out);
        buf_putc(out, '\n');
    }
    for (size_t i = 0; i < c->nr_buckets; i++) {
        buf_printf(out, "\n[bucket %s]\npath = %s\n", c->buckets[i].name, c->buckets[i].path);
    }
    for (size_t i = 0; i < c->nr_registries; i++) {
        const struct config_registry *r = &c->registries[i];
        buf_printf(out, "\n[registry %s]\ninsecure = %s\n", r->host,
                   r->insecure ? "true" : "false");
        if (r->mirrors[0]) {
            buf_printf(out, "mirrors = %s\n", r->mirrors);
        }
        if (r->ca[0]) {
            buf_printf(out, "ca = %s\n", r->ca);
        }
        if (r->username[0]) {
            buf_printf(out, "username = %s\npassword = ***\n", r->username);
        }
    }
    struct limit_info li[LIMITS_COUNT];
    limits_list(li);
    buf_puts(out, "\n[limits]\n");
    for (size_t i = 0; i < LIMITS_COUNT; i++) {
        buf_printf(out, "%s = %llu  # %s\n", li[i].name, (unsigned long long)li[i].value,
                   li[i].what);
    }
}

/* "  --name   what it does (default x)", its words wrapped beside the name. */
static void help_option(struct buf *out, const struct option *o) {
    enum { INDENT = 23, WIDTH = 80 };
    auto_buf struct buf words = BUF_INIT(4096);
    buf_puts(&words, o->what);
    if (o->def[0]) {
        buf_printf(&words, " (default %s)", o->def);
    }
    size_t column = INDENT, name_at = out->n;
    buf_printf(out, "  --%-*s", INDENT - 4, o->name);
    for (size_t i = name_at; i < out->n; i++) {
        out->p[i] = out->p[i] == '_' ? '-' : out->p[i];
    }
    for (struct str rest = buf_str(&words); rest.p;) {
        struct str word = str_cut(&rest, ' ');
        if (column > INDENT && column + 1 + word.n > WIDTH) {
            buf_printf(out, "\n%*s", INDENT, "");
            column = INDENT;
        }
        buf_printf(out, "%s%.*s", column > INDENT ? " " : "", STR_ARG(word));
        column += word.n + (column > INDENT);
    }
    buf_putc(out, '\n');
}

void config_help(struct buf *out) {
    buf_puts(out,
             "cuspd: Vertex AI custom training on this machine\n\n"
             "  cuspd --data-dir DIR [--listen 127.0.0.1:8780] [options]\n\n"
             "Runs in the foreground, says \"ready\" on stderr when it serves, stops on SIGTERM.\n"
             "Running jobs live on when it stops and are picked up again when it starts.\n\n"
             "Options. Each is also a key of the [section] it stands in, in the --config file,\n"
             "with _ for -: --data-dir is data_dir.\n");
    static const char *const sections[] = {"server", "engine", "images", "jobs", "logs"};
    for (size_t s = 0; s < NR_OF(sections); s++) {
        buf_printf(out, "\n[%s]\n", sections[s]);
        for (size_t i = 0; i < NR_OF(options); i++) {
            if (strcmp(options[i].section, sections[s]) == 0) {
                help_option(out, &options[i]);
            }
        }
    }
    buf_puts(out,
             "\nBeside the sections:\n"
             "  --bucket NAME=DIR    serve the directory DIR as the bucket NAME, here and below\n"
             "                       /gcs; in the file [bucket NAME] with path = DIR\n"
             "  --limit NAME=N       change a limit; in the file [limits]. --check-config lists\n"
             "                       them with their values and meaning\n"
             "  [registry HOST]      in the file only: mirrors, insecure, ca, username, password,\n"
             "                       password_file of a registry that images are pulled from\n"
             "  --config FILE        read options from FILE; flags override it\n"
             "  --check-config       print the effective configuration and exit\n"
             "  --version, --help\n\n"
             "Exit codes: 0 stopped as asked, 1 could not start or go on, 2 wrong options\n\n"
             "Example:\n"
             "  cuspd --data-dir /var/lib/cusp --bucket data=/srv/training \\\n"
             "    --limit log_retention_s=604800\n"
             "then, in another terminal: cusp --help\n");
}
