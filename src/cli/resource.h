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
/* POST body (taken) to base. The reply is printed as JSON, or what was made and how to go on.
 * kind: "CustomJob"; command: "custom-jobs"; log: "its log"; is_followed: its log comes next.
 * *ret_name: the new resource's, the caller's. */
struct resource_words {
    const char *kind, *command, *log;
};
int resource_create(const struct cli *c, const char *base, json_t *body,
                    const struct resource_words *words, bool is_followed, char **ret_name,
                    struct err *err);
/* How it ended, and what more says about it. after_log: JSON on one line, as the entries before it.
 * The exit code. */
int resource_outcome(const struct cli *c, const json_t *ended, bool after_log,
                     void (*more)(const struct cli *c, const json_t *ended));

#endif
