/* cusp: the command line. Global flags may stand anywhere; the first words choose the command. */
#include "cli/cli.h"

#include <unistd.h>

static const char help[] =
    "cusp: Vertex AI custom training on your own machine\n\n"
    "  cusp serve --data-dir DIR        run the server in the foreground\n"
    "  cusp custom-jobs …               create, list, describe, stream-logs, cancel, delete\n"
    "  cusp storage …                   cp, ls, cat, rm of gs:// objects\n"
    "  cusp images …                    build, import, ls, rm of container images\n"
    "  cusp env [CLIENT]                how to point an official client at the server\n\n"
    "Every command has --help. Global flags:\n"
    "  --endpoint URL   server (default $CUSP_ENDPOINT, else http://127.0.0.1:8780)\n"
    "  --project ID     (default $CUSP_PROJECT, else demo)     --region ID  (default us-central1)\n"
    "  --format json    machine-readable output                --quiet\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage or refused request, 3 not found,\n"
    "            4 server not reachable, 5 the job ran and failed\n";

static const struct {
    const char *name;
    int (*run)(const struct cli *, int, char **, struct err *);
} commands[] = {
    {"custom-jobs", cmd_custom_jobs},
    {"storage", cmd_storage},
    {"images", cmd_images},
    {"env", cmd_env},
    {"serve", cmd_serve},
};

/* Takes --NAME=V or --NAME V out of argv; NULL when absent. */
static const char *take_flag(int *argc, char **argv, const char *name) {
    size_t n = strlen(name);
    for (int i = 1; i < *argc; i++) {
        if (strncmp(argv[i], name, n) != 0 || (argv[i][n] && argv[i][n] != '=')) {
            continue;
        }
        int used = argv[i][n] == '=' ? 1 : 2;
        if (i + used > *argc) {
            return NULL;
        }
        const char *v = used == 1 ? argv[i] + n + 1 : argv[i + 1];
        memmove(argv + i, argv + i + used, (size_t)(*argc - i - used + 1) * sizeof(*argv));
        *argc -= used;
        return v;
    }
    return NULL;
}

static bool take_bool(int *argc, char **argv, const char *name) {
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof(*argv));
            (*argc)--;
            return true;
        }
    }
    return false;
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

int main(int argc, char **argv) {
    struct cli c = {0};
    struct err err = {0};
    bool serve = argc > 1 && strcmp(argv[1], "serve") == 0; /* its flags are cuspd's own */
    if (!serve) {
        const char *format = take_flag(&argc, argv, "--format");
        c.endpoint =
            or_env(take_flag(&argc, argv, "--endpoint"), "CUSP_ENDPOINT", "http://127.0.0.1:8780");
        c.project = or_env(take_flag(&argc, argv, "--project"), "CUSP_PROJECT", "demo");
        c.region = or_env(take_flag(&argc, argv, "--region"), "CUSP_REGION", "us-central1");
        c.quiet = take_bool(&argc, argv, "--quiet");
        c.json = format && strcmp(format, "json") == 0;
        c.colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && !c.json;
        if (format && !c.json) {
            fprintf(stderr, "cusp: --format knows json only\n");
            return EXIT_USAGE;
        }
    }
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        fputs(help, stdout);
        return argc < 2 ? EXIT_USAGE : EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("cusp " CUSP_VERSION);
        return EXIT_OK;
    }
    for (size_t i = 0; i < NR_OF(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            int rc = commands[i].run(&c, argc - 2, argv + 2, &err);
            if (rc < 0) {
                fprintf(stderr, "cusp: %s\n", err.msg);
                rc = exit_code(&err);
            }
            return rc;
        }
    }
    fprintf(stderr, "cusp: no command \"%s\"; see cusp --help\n", argv[1]);
    return EXIT_USAGE;
}
