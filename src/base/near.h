/* Which of the known words was meant by one that is not known: begin with {.typed = …}, offer every
 * known word with near_try, then ask near_best. Pure; any thread; keeps views only. */
#ifndef CUSP_BASE_NEAR_H
#define CUSP_BASE_NEAR_H

#include "base/str.h"

#define NEAR_WORD_MAX 64 /* longer words are like nothing */

struct near {
    struct str typed; /* without the dashes of a flag */
    const char *best; /* so far; the first of equals */
    size_t distance;
};

/* word: must outlive n. Letters that are added, missing, wrong or exchanged with their neighbour
 * count one each; upper case and '_' for '-' count nothing. A word of which typed is the beginning
 * or one of the parts ("jobs" of "custom-jobs") is near as well. */
void near_try(struct near *n, const char *word);
/* NULL: none is near enough to be worth a question (a third of the letters may differ). */
const char *near_best(const struct near *n);

#endif
