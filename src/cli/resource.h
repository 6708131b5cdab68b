/* What the commands about things that run to an end (jobs, pipelines, tuning jobs) share. */
#ifndef CUSP_CLI_RESOURCE_H
#define CUSP_CLI_RESOURCE_H

#include "cli/cli.h"

/* "RUNNING" of "JOB_STATE_RUNNING", "PIPELINE_STATE_RUNNING". */
const char *state_short(const char *state);
/* The last segment of a name. */
const char *name_id(const char *name);
/* Gets it again and again until enough(resource), over restarts of the server; NULL: until it has
 * ended. */
int wait_for_resource(const struct cli *c, const char *path, bool (*enough)(const json_t *),
                      json_t **ret, struct err *err);
/* POST path+verb, or DELETE path; "DONE [ID]." or the reply as JSON. */
int resource_act(const struct cli *c, const char *method, const char *path, const char *verb,
                 const char *id, const char *done, struct err *err);
/* Every page of the list at base, at most --limit (100) elements of reply[key], as --filter and
 * --order-by (or --sort-by) of aof a say; those that a command does not know are not asked for.
 * filter_key: the filter's name in the request, "filter". *ret: an array, the caller's. */
int resource_list(const struct cli *c, const char *base, const char *key, const char *filter_key,
                  const struct args *a, json_t **ret, struct err *err);
/* The same, printed: as JSON, by print, or that there are none ("tuning jobs") here. */
int resource_print_list(const struct cli *c, const char *base, const char *key,
                        const char *filter_key, const struct args *a, const char *what,
                        void (*print)(const json_t *all), struct err *err);
/* Waits for its end, and says how it was and what more says about it. after_log: JSON on one line,
 * as the entries before it. The exit code. */
int resource_outcome(const struct cli *c, const char *path, bool after_log,
                     void (*more)(const struct cli *c, const json_t *ended), struct err *err);

/* What is created, and followed with --stream-logs, in the kind's own way. */
struct resource_words {
    const char *kind, *command, *log; /* "CustomJob", "custom-jobs", "its log" */
    int (*stream)(const struct cli *c, const char *id, const char *task, bool follow,
                  struct err *err);
    int (*outcome)(const struct cli *c, const char *id, bool after_log, struct err *err);
};
/* POST body (taken; NULL: *err is set already) to base. Prints the reply as JSON, or what was made
 * and how to go on; with --stream-logs in a, its log and its outcome. The exit code. */
int resource_create(const struct cli *c, const char *base, const struct args *a, json_t *body,
                    const struct resource_words *words, struct err *err);

#endif
