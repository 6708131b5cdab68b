/* The file in which the hypertune library leaves a trial's metrics (reference 02 §7): one JSON
 * object a line, rewritten in place with the last hundred at every report. Pure; any thread. */
#ifndef CUSP_ENGINE_LOCAL_METRICS_FILE_H
#define CUSP_ENGINE_LOCAL_METRICS_FILE_H

#include "base/str.h"
#include "engine/engine.h"

#define METRICS_LINE_BYTES 4096u
#define METRICS_LINE_TAGS 8u /* metrics of one line; the library writes one */

/* Calls fn for every metric of every line, in order; r lives for the call. Lines that are no such
 * objects, half written ones, and longer ones are passed over. A timestamp that is missing or
 * senseless is 0, a step 0. `text` may begin in the middle of a line: is_tail says so. */
void metrics_parse(struct str text, bool is_tail,
                   void (*fn)(void *arg, const struct metric_report *r), void *arg);

#endif
