/* The cusp command: shared pieces of its subcommands. One thread, everything blocks, errors are
 * printed once by main and end the program with the exit code of their kind. */
#ifndef CUSP_CLI_CLI_H
#define CUSP_CLI_CLI_H

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"
#include "base/vec.h"

#include <jansson.h>

/* Exit codes: documented in `cusp --help`. */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_UNREACHABLE = 4,
    EXIT_JOB_FAILED = 5
};

struct cli {
    const char *endpoint; /* "http://127.0.0.1:8780" */
    const char *project, *region;
    const char *format; /* --format as it was given; NULL */
    bool json;          /* --format=json */
    bool csv;           /* --format=csv */
    bool quiet;
    bool colour; /* stdout is a terminal and NO_COLOR is not set */
};

/* ---- flags (args.c): gcloud's style, --name=value or --name value, repeatable */
struct flag {
    const char *name; /* "--display-name" */
    bool is_bool;
    const char **values; /* found ones, in order */
    size_t nr;
};
struct args {
    struct flag *flags;
    size_t nr_flags;
    const char **words; /* positional */
    size_t nr_words;
};
/* Flags of every command; main takes them out before the command sees its own. */
enum { FLAG_FORMAT, FLAG_ENDPOINT, FLAG_PROJECT, FLAG_REGION, FLAG_QUIET, GLOBAL_FLAGS };
extern const char *const global_flags[GLOBAL_FLAGS];
/* INVALID_ARGUMENT on unknown flags (naming the one that was probably meant), missing values and
 * bools that are neither true nor false. argv[0] is the first word after the command; after "--"
 * everything is a word. Values and words point into argv; args_fini is needed after failure too. */
int args_parse(struct args *a, int argc, char **argv, struct err *err);
/* The same of a command that takes no words. */
int args_parse_flags(struct args *a, int argc, char **argv, struct err *err);
void args_fini(struct args *a);
#define auto_args __attribute__((cleanup(args_fini)))
const char *args_get(const struct args *a, const char *name); /* last value or NULL */
bool args_on(const struct args *a, const char *name);         /* a bool given, and not as =false */
const struct flag *args_flag(const struct args *a, const char *name);

/* ---- HTTP (http.c) */
struct http_reply {
    long status;
    struct buf body;
    char location[1024], range[64]; /* headers, "" when absent; of http_do only */
    char log_bytes[24];             /* x-cusp-log-bytes */
};
/* method, path ("/v1/…"), JSON body or NULL. Any status below 400 is success; else *err has the
 * server's own message and code. UNAVAILABLE when it cannot be reached. */
int http_call(const struct cli *c, const char *method, const char *path, const char *body,
              struct http_reply *ret, struct err *err);
int http_json(const struct cli *c, const char *method, const char *path, json_t *body, json_t **ret,
              struct err *err);
/* Streams the reply body; fn returning false ends it early (success: fn knows why it stopped). */
int http_stream(const struct cli *c, const char *path, bool (*fn)(void *arg, struct str bytes),
                void *arg, struct err *err);
#define UPLOAD_UNKNOWN UINT64_MAX
struct http_req {
    const char *method, *path; /* or a whole URL */
    const char *headers[6];    /* "Name: value"; ends at NULL */
    bool has_body;             /* size bytes from fd's position, or UPLOAD_UNKNOWN */
    int fd;
    uint64_t size;
    void (*sent)(void *arg, struct str bytes); /* of the body; may be NULL */
    bool (*sink)(void *arg,
                 struct str bytes); /* the reply's body when it is a success; false stops
                                       (UNAVAILABLE then is the sink's doing); may be NULL */
    void *arg;
};
/* The general form. A status below 400 is success, 308 too; else *err has the server's words.
 * ABORTED when the file is shorter than size. Threads: each has its own connection. */
int http_do(const struct cli *c, const struct http_req *q, struct http_reply *ret, struct err *err);
void http_thread_end(void); /* closes the calling thread's connection */
/* Sends fd as the body, showing progress on a terminal when it takes over a second. size
 * UPLOAD_UNKNOWN: until its end (a pipe). */
int http_upload(const struct cli *c, const char *method, const char *path, const char *content_type,
                int fd, uint64_t size, const char *label, struct http_reply *ret, struct err *err);
void http_reply_fini(struct http_reply *r);
/* The whole of a server's message when err holds its beginning, else err->msg. */
const char *http_full_message(const struct err *err);
/* Percent-encoded path segment, owned. */
char *http_escape(struct str s);

/* ---- output (out.c) */
struct table; /* columns sized to their content; no line ends in spaces */
struct table *table_new(size_t columns, const char *const *heads);
void table_row(struct table *t, const char *const *cells); /* copies */
void table_print(struct table *t, FILE *f);                /* and frees */
void out_json(const json_t *j);                            /* on standard output */
void out_json_line(const json_t *j);                       /* the same on one line */
/* The text, owned; "" of NULL. Numbers as short as they can be (jansson's own writer shows 0.05 as
 * 0.050000000000000003). indent: spaces a level, 0 for one line. */
char *json_shown(const json_t *j, int indent);
/* A device, a pipe: written to as it is. A file that appears whole would take its place
 * (/dev/null!). */
bool out_is_stream(const char *path);
/* A text member; "" where there is none. A view. */
const char *json_text(const json_t *j, const char *key);
const char *state_colour(const struct cli *c, const char *state); /* escape sequence or "" */
const char *colour_off(const struct cli *c);
size_t text_width(const char *s); /* columns of a terminal */
/* Every line of text with indent in front (none on empty lines), each ended. */
void indent_text(struct buf *b, const char *text, const char *indent);
/* An error's message as lines: one violation a line when it is a list of them, else its further
 * lines indented. */
void error_text(struct buf *b, const char *msg);
/* "2m 5s", "820 ms", "-" for 0. */
void duration_text(struct buf *b, double seconds);
void bytes_text(struct buf *b, uint64_t n);
/* "5m 3s ago" of an RFC 3339 time; nothing when it is none. */
void age_text(struct buf *b, const char *when);

/* beside.c: the first of these paths, relative to this program's folder, that is there and may be
 * run or entered; owned, NULL when none is. */
char *find_beside(const char *const *places, size_t nr);

/* help.c: the page of "storage" "cp", else of "storage"; NULL when there is none */
const char *help_text(const char *command, const char *verb);
/* INVALID_ARGUMENT: there is no such verb (no such command), and which was probably meant. */
int no_verb(const char *command, const char *verb, struct err *err);
int no_command(const char *command, struct err *err);

/* ---- YAML or JSON -> JSON object (configfile.c), keys as written; owned reference. Refused:
 * anchors, aliases, a key given twice, several documents, deep nesting. */
json_t *configfile_parse(struct str text, struct err *err);
json_t *configfile_load(const char *path, struct err *err);

/* ---- commands: argv after the command's own words; return the exit code, errors in *err */
int cmd_custom_jobs(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_training_pipelines(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_hp_tuning_jobs(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_studies(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_datasets(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_models(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_storage(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_logging(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_images(const struct cli *c, int argc, char **argv, struct err *err);
/* imagemove.c: between the server and another registry, progress on stderr */
int images_pull(const struct cli *c, const char *image, struct err *err);
int images_push(const struct cli *c, const char *image, const char *to, struct err *err);
int cmd_tls(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_conformance(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_env(const struct cli *c, int argc, char **argv, struct err *err);
int cmd_serve(const struct cli *c, int argc, char **argv, struct err *err);

/* jobspec.c: the flags of `custom-jobs create`, as gcloud has them, and the request body made of
 * them (owned reference) */
#define CREATE_FLAGS                                                                               \
    {                                                                                              \
        {.name = "--display-name"}, {.name = "--worker-pool-spec"}, {.name = "--config"},          \
            {.name = "--args"}, {.name = "--command"}, {.name = "--python-package-uris"},          \
            {.name = "--base-output-dir"}, {.name = "--labels"}, {.name = "--timeout"},            \
            {.name = "--service-account"}, {.name = "--network"},                                  \
            {.name = "--persistent-resource-id"},                                                  \
            {.name = "--enable-web-access", .is_bool = true},                                      \
            {.name = "--enable-dashboard-access", .is_bool = true},                                \
            {.name = "--stream-logs", .is_bool = true},                                            \
    }
/* "a,b" (or "^;^a;b") as an array; "k=v,k=v" as an object of texts, NULL when it is not that. */
json_t *flag_list(const char *text);
json_t *flag_pairs(const char *flag, const char *text, struct err *err);
json_t *job_body_from_flags(const struct args *a, struct err *err);
/* joblogs.c: follows a job's log on stdout, over restarts of the server */
int job_logs(const struct cli *c, const char *id, const char *task, bool follow, struct err *err);
/* logging.c: the entries listed with a job (by id), those of a tuning job's trials among them; then
 * (follow) what comes, until is_over has said so. */
int job_entries(const struct cli *c, const char *job_id, const char *task, bool follow,
                bool (*is_over)(void *arg), void *arg, struct err *err);
/* A whole log into a file ("-": standard output), with progress; JSON lines with --format=json. */
int job_log_download(const struct cli *c, const char *id, const char *task, const char *to,
                     struct err *err);
/* A server that was reached and is gone may be restarting: true after a pause when it is worth
 * asking again (for a minute). Begin with {0}, and again after each answer. */
struct outage {
    bool reached;
    usec_t since; /* mono; 0: there is none yet */
    useconds_t pause_us;
};
bool server_may_return(const struct cli *c, const struct err *err, struct outage *o);
bool job_is_over(const char *state); /* "JOB_STATE_…", "PIPELINE_STATE_…" */
/* "PREFIX/projects/…/COLLECTION/ID", or PREFIX/ID when that is a whole name; ID may be empty. */
char *resource_path(const struct cli *c, const char *prefix, const char *collection,
                    const char *id);
char *job_path(const struct cli *c, const char *prefix,
               const char *id); /* "/v1/projects/…/customJobs/ID" */

#endif
