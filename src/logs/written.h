/* Entries that clients wrote (entries:write), and logs that were deleted.
 *
 * DIR/logs/written/PROJECT/out.NNNNNN.seg: frames of base/seg.h, stream SEG_ENTRY, time = the
 * entry's timestamp, payload = a packed LogEntry. In order of arrival, not of time.
 * out.NNNNNN.idx beside a full one: written_index.h.
 * DIR/logs/written/PROJECT/deleted: a record, log id -> when: what came before is not shown. */
#ifndef CUSP_LOGS_WRITTEN_H
#define CUSP_LOGS_WRITTEN_H

#include "base/arena.h"
#include "logs/search.h"

/* Appends entries; durable when cb says so. Writes of a moment share one sync. */
struct log_write {
    uint64_t project;
    Google__Logging__V2__LogEntry **entries; /* complete; the caller's until cb */
    size_t nr;
    void (*cb)(struct log_write *, const struct err *err);
    void *arg;
    struct list link;
    struct err err;
    bool failed;
};
void log_write_start(struct logs *g, struct log_write *w);

/* Hides all entries of a log that are there now. NOT_FOUND: there are none. */
struct log_delete {
    uint64_t project;
    struct str log_id; /* as in names: escaped */
    void (*cb)(struct log_delete *, const struct err *err);
    void *arg;
    struct logs *logs;
    struct lane_work work;
    struct err err;
    bool failed;
};
void log_delete_start(struct logs *g, struct log_delete *d);

/* ---- on the lane */
struct log_tombs {
    struct arena *arena;
    VEC_OF(struct {
        struct str log_id;
        usec_t when;
    })
    items;
};
void tombs_load(struct logs *g, uint64_t project, struct arena *a, struct log_tombs *ret);
bool tombs_hide(const struct log_tombs *t, const Google__Logging__V2__LogEntry *e);
/* Whether a log with nothing received after `last` is gone. */
bool tombs_hide_log(const struct log_tombs *t, struct str log_id, usec_t last);
void tombs_fini(struct log_tombs *t);

/* The next written entries behind s->after that match, sorted in the search's order. */
struct written_found {
    Google__Logging__V2__LogEntry **entries; /* at most s->page_size + 1; in s->arena */
    size_t nr;
    /* limits.max_list_scan entries were looked at: those before cut_at (descending: after) are all
     * there is, of the others nothing is known. */
    bool is_cut;
    usec_t cut_at;
};
int written_find(struct logs *g, const struct log_search *s, size_t scope,
                 const struct query_scope *where, const struct log_tombs *tombs,
                 struct written_found *ret, struct err *err) MUST_CHECK;
char *written_dir(struct logs *g, uint64_t project); /* owned */
struct written_index;
/* Calls fn with the index of the last segment, brought up to date; not when a later one is the last
 * by now. Nothing else may use it meanwhile. */
int written_tail(struct logs *g, uint64_t project, const char *dir, uint32_t file,
                 int (*fn)(void *arg, const struct written_index *x), void *arg,
                 struct err *err) MUST_CHECK;
/* Calls fn with every log id that was written to, and when it last was. */
int written_names(struct logs *g, uint64_t project,
                  void (*fn)(void *arg, struct str id, usec_t last), void *arg,
                  struct err *err) MUST_CHECK;

/* names.c: whether the project has a log of that name that was not deleted. */
bool names_has(struct logs *g, uint64_t project, struct str id);

/* The writer: loop side state. */
struct written;
struct written *written_new(struct logs *g);
void written_free(struct written *w);

#endif
