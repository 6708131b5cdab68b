/* How long logs are kept. Now and then everything that has become too old or too large goes.
 * Age: limits.log_retention_s after the job's last line; entries that clients wrote, after they
 * came. Size: of one job, limits.log_job_bytes, its oldest segments go; of all,
 * limits.log_total_bytes, the jobs go whose last line is oldest (and written entries no sooner than
 * they are that old). Deletion: the log of a job that was deleted, if drop_deleted.
 *
 * The log of a job that has not ended is never touched, however large. Nothing is half gone after a
 * crash: a job's directory is renamed (DIR/logs/.gone/JOB), then removed; deleted jobs are named by
 * the store (space LOG_SPACE_DELETED, in the transaction that deletes the row) until their log is
 * gone. */
#ifndef CUSP_LOGS_RETAIN_H
#define CUSP_LOGS_RETAIN_H

#include "logs/logs.h"

struct store;

#define LOG_SPACE_DELETED "deletedJob" /* key: job id; value: its project's number */

struct log_retention {
    struct store *store;
    /* A job that has not ended, as far as the decision makers know. Loop thread. */
    bool (*is_live)(void *arg, const char *job_id);
    void *arg;
    bool drop_deleted;
};
/* Once what runs is known; the first look is at once. Before logs_close: logs_retain_stop. */
void logs_retain_start(struct logs *g, const struct log_retention *how);
/* No look begins any more; the one under way ends with the lane. */
void logs_retain_stop(struct logs *g);
/* Something was deleted: look soon. */
void logs_retain_soon(struct logs *g);

struct log_usage {
    uint64_t looks;                                      /* finished */
    uint64_t bytes;                                      /* of all logs, at the last look */
    uint64_t jobs;                                       /* with a log */
    uint64_t removed_age, removed_size, removed_deleted; /* jobs */
    uint64_t removed_bytes;                              /* segments of written entries too */
};
void logs_get_usage(const struct logs *g, struct log_usage *ret);

#endif
