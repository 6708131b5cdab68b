/* Pages of log entries of projects: captured lines of its jobs, service lines and written entries,
 * in one order (timestamp, then insertId), filtered. */
#ifndef CUSP_LOGS_SEARCH_H
#define CUSP_LOGS_SEARCH_H

#include "base/arena.h"
#include "logs/entry.h"
#include "logs/logs.h"
#include "logs/query.h"
#include "sys/lane.h"

/* Where an entry stands in the order. */
struct log_position {
    int64_t sec;
    int32_t nanos;
    char insert_id[INSERT_ID_MAX + 1];
};
int log_position_cmp(const struct log_position *a, const struct log_position *b);
void log_position_of(const Google__Logging__V2__LogEntry *e, struct log_position *ret);

/* A project whose logs are read. */
struct log_scope {
    uint64_t project;
    struct str id; /* as names show it */
};

struct log_search {
    /* the caller's, valid until cb */
    const struct log_scope *scopes; /* different ones */
    size_t nr_scopes;               /* > 0 */
    const struct query *query;
    bool descending;
    unsigned page_size; /* > 0 */
    bool has_after;
    struct log_position after; /* the entries are those behind it, in the order asked for */
    struct arena *arena;       /* the entries live there */
    void (*cb)(struct log_search *, const struct err *err); /* once, on the loop */
    void *arg;
    /* the answer. A page may be short, even empty, and have more: it ends after
     * limits.max_list_scan entries looked at, or LOG_PAGE_BYTES. */
    Google__Logging__V2__LogEntry **entries;
    size_t nr_entries;
    bool more;
    struct log_position last; /* go on behind it, when there is more */
    /* private */
    struct logs *logs;
    struct lane_work work;
    struct err err;
    bool failed;
};
#define LOG_PAGE_BYTES                                                                             \
    (3u << 20) /* memory of one page; gRPC clients refuse messages over 4 MiB                      \
                */

void log_search_start(struct logs *g, struct log_search *s);

/* ---- the names of a project's logs */
struct log_names {
    uint64_t project;
    struct arena *arena;
    void (*cb)(struct log_names *, const struct err *err);
    void *arg;
    struct str *ids; /* "workerpool0-0", "ml.googleapis.com%2F123", sorted */
    size_t nr_ids;
    struct logs *logs;
    struct lane_work work;
};
void log_names_start(struct logs *g, struct log_names *n);

#endif
