/* cusp: the command line. Global flags may stand anywhere; the first words choose the command. */
#include "cli/cli.h"

#include <errno.h>
#include <unistd.h>

static int cmd_version(const struct cli *c, int argc, char **argv, struct err *err) {
    printf(c->json ? "{\"version\": \"%s\"}\n" : "cusp %s\n", CUSP_VERSION);
    return 0;
}

static const struct {
    const char *name;
    bool has_verbs;
    int (*run)(const struct cli *, int, char **, struct err *);
} commands[] = {
    {"custom-jobs", true, cmd_custom_jobs},
    {"training-pipelines", true, cmd_training_pipelines},
    {"hp-tuning-jobs", true, cmd_hp_tuning_jobs},
    {"studies", true, cmd_studies},
    {"datasets", true, cmd_datasets},
    {"models", true, cmd_models},
    {"storage", true, cmd_storage},
    {"logging", true, cmd_logging},
    {"images", true, cmd_images},
    {"tls", true, cmd_tls},
    {"conformance", false, cmd_conformance},
    {"env", false, cmd_env},
    {"serve", false, cmd_serve},
    {"version", false, cmd_version},
};

struct global {
    const char *name, *value; /* value: the last one given */
    bool is_bool;
};

/* Takes the global flags out of argv, up to "--". */
static int take_globals(struct global *flags, size_t nr, int *argc, char **argv, struct err *err) {
    int out = 1, i = 1;
    while (i < *argc && strcmp(argv[i], "--") != 0) {
        struct str value = str_of(argv[i]), name = str_cut(&value, '=');
        struct global *f = NULL;
        for (size_t k = 0; k < nr; k++) {
            f = str_eqc(name, flags[k].name) && !(flags[k].is_bool && value.p) ? &flags[k] : f;
        }
        if (!f) {
            argv[out++] = argv[i++];
        } else if (f->is_bool || value.p) {
            f->value = f->is_bool ? "true" : value.p;
            i++;
        } else if (i + 1 < *argc) {
            f->value = argv[i + 1];
            i += 2;
        } else {
            return err_set(err, ERR_INVALID_ARGUMENT, "flag %s needs a value", f->name);
        }
    }
    while (i <= *argc) { /* and the NULL at the end */
        argv[out++] = argv[i++];
    }
    *argc = out - 1;
    return 0;
}

/* "http://host:port", without a slash at the end. Owned. */
static char *tidy_endpoint(const char *text) {
    struct str s = str_of(text);
    while (s.n && s.p[s.n - 1] == '/') {
        s.n--;
    }
    return xasprintf("%s%.*s", str_find(s, STR("://")) < 0 ? "http://" : "", STR_ARG(s));
}

static const char *or_env(const char *v, const char *env, const char *otherwise) {
    const char *e = v ? v : getenv(env);
    return e && *e ? e : otherwise;
}

static int exit_code(const struct err *err) {
    enum err_code c = err->code;
    return c == ERR_NOT_FOUND     ? EXIT_NOT_FOUND
           : c == ERR_UNAVAILABLE ? EXIT_UNREACHABLE
           : c == ERR_INVALID_ARGUMENT || c == ERR_FAILED_PRECONDITION || c == ERR_ALREADY_EXISTS
               ? EXIT_USAGE
               : EXIT_FAILED;
}

static int fail(const struct err *err) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    error_text(&b, http_full_message(err));
    fprintf(stderr, "cusp: %s", buf_cstr(&b));
    return exit_code(err);
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* The page asked for: `cusp help X Y`, or --help anywhere before "--"; NULL when none was. */
static const char *wanted_help(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "help") == 0 || is_help(argv[1]))) {
        return help_text(argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
    }
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (is_help(argv[i]) || (i == 2 && strcmp(argv[i], "help") == 0)) {
            return help_text(argv[1], argv[2]);
        }
    }
    return NULL;
}

static int run(const struct cli *c, int argc, char **argv, struct err *err) {
    for (size_t i = 0; i < NR_OF(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0) {
            continue;
        }
        if (commands[i].has_verbs && argc < 3) {
            fputs(help_text(argv[1], ""), stderr);
            return EXIT_USAGE;
        }
        return commands[i].run(c, argc - 2, argv + 2, err);
    }
    return no_command(argv[1], err);
}

/* One command, then the process ends: what it parsed is not given back piece by piece, and the leak
 * checker of the developer build must not turn that into a failed command. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0";
}

/* Tables for other programs too. */
static bool shows_trials(int argc, char **argv) {
    bool is_study = argc > 2 && strcmp(argv[1], "studies") == 0;
    return (is_study && (strcmp(argv[2], "describe") == 0 || strcmp(argv[2], "suggest") == 0)) ||
           (argc > 2 && strcmp(argv[1], "hp-tuning-jobs") == 0 && strcmp(argv[2], "describe") == 0);
}

int main(int argc, char **argv) {
    struct global g[GLOBAL_FLAGS];
    for (size_t i = 0; i < GLOBAL_FLAGS; i++) {
        g[i] = (struct global){.name = global_flags[i], .is_bool = i == FLAG_QUIET};
    }
    struct err err = {0};
    bool serve = argc > 1 && strcmp(argv[1], "serve") == 0; /* its flags are cuspd's own */
    if (!serve && take_globals(g, NR_OF(g), &argc, argv, &err)) {
        return fail(&err);
    }
    auto_free char *endpoint =
        tidy_endpoint(or_env(g[FLAG_ENDPOINT].value, "CUSP_ENDPOINT", "http://127.0.0.1:8780"));
    struct cli c = {.endpoint = endpoint,
                    .project = or_env(g[FLAG_PROJECT].value, "CUSP_PROJECT", "demo"),
                    .region = or_env(g[FLAG_REGION].value, "CUSP_REGION", "us-central1"),
                    .json = g[FLAG_FORMAT].value && strcmp(g[FLAG_FORMAT].value, "json") == 0,
                    .quiet = g[FLAG_QUIET].value != NULL};
    c.colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && !c.json;
    c.format = g[FLAG_FORMAT].value;
    bool of_trials = shows_trials(argc, argv);
    c.csv = of_trials && c.format && strcmp(c.format, "csv") == 0;
    if (c.format && !c.json && !c.csv && !(argc > 1 && strcmp(argv[1], "logging") == 0)) {
        err_set(&err, ERR_INVALID_ARGUMENT, "--format knows %s",
                of_trials ? "json and csv" : "json only");
        return fail(&err);
    }
    if (argc < 2) {
        fputs(help_text("", ""), stderr);
        return EXIT_USAGE;
    }
    const char *text = serve ? NULL : wanted_help(argc, argv);
    if (text) {
        fputs(text, stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "help") == 0) {
        (void)no_command(argv[2], &err);
        return fail(&err);
    }
    if (strcmp(argv[1], "--version") == 0) {
        argv[1] = (char *)(uintptr_t) "version";
    }
    int rc = run(&c, argc, argv, &err);
    if (fflush(stdout) && rc == 0) {
        rc = err_sys(&err, errno, "write standard output");
    }
    return rc < 0 ? fail(&err) : rc;
}
