/* A captured line as a google.logging.v2.LogEntry (reference 11 §1). Pure. */
#ifndef CUSP_LOGS_ENTRY_H
#define CUSP_LOGS_ENTRY_H

#include "logs/gather.h"
#include "pb/aip.h"

/* Whose line it is. */
struct entry_origin {
    struct str project; /* as names show it: the id where one is known */
    struct str job_id;
    struct str
        shown_as;      /* the tuning job that it is listed with; .p NULL: it is listed as itself */
    const char *trial; /* of that; NULL */
    const char *task;  /* "workerpool0-0" or "service" */
    uint32_t attempt;  /* 0: service */
    bool strict;
};

/* Fixed width, and ordered as lines of one moment are listed: attempt, pool, replica, number;
 * at the end what tells jobs apart. */
void entry_insert_id(char ret[40], struct str job_id, const char *task, uint32_t attempt,
                     uint64_t seq);

/* NULL: the arena is full. */
Google__Logging__V2__LogEntry *entry_make(struct arena *a, const struct entry_origin *o,
                                          const struct captured *c);
/* Of a line that is a JSON object and says how severe it is; *ret stays where it does not. a: for
 * the parsed object. */
void entry_object_severity(struct arena *a, struct str line, bool strict, int *ret);
/* Text that messages may hold: what is not UTF-8, and NUL, become U+FFFD. */
char *entry_text(struct arena *a, struct str bytes);

#endif
