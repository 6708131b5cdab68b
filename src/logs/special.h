/* Keys of a JSON line that are fields of its entry and no part of its payload, as Cloud Logging's
 * agents treat them: severity, time, timestamp, timestampSeconds with timestampNanos, httpRequest,
 * and logging.googleapis.com/ with insertId, labels, operation, sourceLocation, spanId, trace,
 * trace_sampled. What does not have the shape of its field stays in the payload. Pure. */
#ifndef CUSP_LOGS_SPECIAL_H
#define CUSP_LOGS_SPECIAL_H

#include "base/arena.h"
#include "base/time.h"
#include "pb/aip.h"

#define INSERT_ID_MAX 256u

/* Where a line says that it stands in the order of its log. */
struct special_place {
    bool has_time;
    usec_t time;          /* what is past microseconds is cut off */
    struct str insert_id; /* .n 0: none. In the arena. */
};

/* A line that says nothing leaves it all zero. Costs next to nothing when the words are not there.
 */
void special_place(struct arena *a, struct str line, struct special_place *ret);

/* Names, or Cloud Logging's numbers; python: its numbers (10 to 50) too. */
bool special_severity(const Google__Protobuf__Value *v, bool python, int *ret);
Google__Protobuf__Value *special_find(const Google__Protobuf__Struct *s, const char *key);
void special_take(Google__Protobuf__Struct *s, const char *key);

/* Takes the keys out of s and puts them into e, whose labels may move. The time and insertId are
 * only taken out where the entry has them: *e says which insertId, take_time whether the time. A
 * full arena leaves the rest in s. */
void special_lift(struct arena *a, Google__Protobuf__Struct *s, Google__Logging__V2__LogEntry *e,
                  bool take_time);

#endif
