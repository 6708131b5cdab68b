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

#endif
