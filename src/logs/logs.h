/* CONTRACT. Job logs: segment directories written by cusp-runner (DIR/logs/JOB/aN/REPLICA) and by
 * the server itself (DIR/logs/JOB/service). Identity of a line is (replica dir, seq): nothing is
 * copied, so nothing can be lost or repeated when the server restarts. Loop thread; blocking file
 * work goes to the disk lane. */
#ifndef CUSP_LOGS_LOGS_H
#define CUSP_LOGS_LOGS_H

#include "base/seg.h"

struct loop;
struct lane;
struct logs;

struct logs *logs_open(struct loop *l, struct lane *disk, const char *data_dir, struct err *err);
void logs_close(struct logs *g);
/* Strict: severities as Vertex gives them (logs/recognise.h). Before anything is listed. */
void logs_set_strict(struct logs *g, bool strict);
/* LOGS_KEY_BYTES that only this data directory knows: page tokens are signed with them. */
#define LOGS_KEY_BYTES 32
const uint8_t *logs_page_key(const struct logs *g);

/* Appends a service line (stream SEG_SERVICE); severity 200, 400, 500. Durable soon (fsync
 * batched). */
void logs_service(struct logs *g, const char *job_id, usec_t when, int severity, const char *text);
/* Whose job it is: entries are listed by project. Before the job's first service line. */
void logs_set_owner(struct logs *g, const char *job_id, uint64_t project);
/* A tuning job's trial has this job: lists that name the tuning job show what it prints, too. May
 * be said again. */
void logs_set_trial(struct logs *g, const char *job_id, uint64_t trial, const char *child_id);
/* No more service lines for this job: the stream gets its SEG_EOF. Followers end after it. */
void logs_service_end(struct logs *g, const char *job_id);

struct log_line {
    usec_t time;
    const char *task; /* "workerpool0-0" or "service" */
    uint32_t attempt; /* 0 for service */
    uint64_t seq;
    enum seg_stream stream;
    int severity; /* as its entry has it: recognised, or by its stream (logs_set_strict) */
    bool partial;
    struct str text;
};

/* Follows one job's log: everything already there, merged by time, then live lines as they are
 * written (inotify; first line <= 100 ms), until the service stream's SEG_EOF when follow is true,
 * or until the present end when false. on_line may return false to pause: call log_follow_resume.
 */
struct log_follow;
/* How far a reader is that comes again: of this task and attempt it has the lines up to seq. */
struct log_place {
    struct str task;
    uint32_t attempt;
    uint64_t seq;
};
struct log_follow_opts {
    const char *job_id;
    const char *task;              /* NULL: all */
    const struct log_place *after; /* what is behind them; valid as long as the follow */
    size_t nr_after;
    bool follow;
    /* Once, before the first line or the end: bytes of what is there. May be NULL. */
    void (*on_begin)(void *arg, uint64_t bytes);
    bool (*on_line)(void *arg, const struct log_line *line);
    void (*on_end)(void *arg, const struct err *err); /* once; not after log_follow_stop */
    void *arg;
};
struct log_follow *log_follow_start(struct logs *g, const struct log_follow_opts *o,
                                    struct err *err);
void log_follow_resume(struct log_follow *f);
void log_follow_stop(struct log_follow *f); /* any time before on_end; frees */

#endif
