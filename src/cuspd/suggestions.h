/* Where the settings of studies are computed: a lane of its own behind ctl/suggest.h. Loop thread.
 */
#ifndef CUSP_CUSPD_SUGGESTIONS_H
#define CUSP_CUSPD_SUGGESTIONS_H

#include "base/buf.h"
#include "ctl/suggest.h"

struct loop;
struct suggestions;

struct suggestions *suggestions_new(struct loop *loop);
/* Valid until suggestions_free. */
struct suggest_pool *suggestions_pool(struct suggestions *s);
/* After all suggesters are freed: waits for what is being computed, which nobody hears of. Not from
 * within a suggestion's end. NULL is fine. */
void suggestions_free(struct suggestions *s);
/* Appends to /metrics. */
void suggestions_metrics(struct suggestions *s, struct buf *b);

#endif
