/* Which of the three sets a row or an item goes to (reference 05 §6). Pure: no I/O, no clock; the
 * same data and the same seed give the same answer on every machine, whatever the shards are.
 *
 * Fractions are kept exactly within every ten neighbours: the ten take the ten tenths of [0, 1) in
 * a shuffled order, each at a random place of its tenth. So 150 rows at 80/10/10 are 120, 15 and
 * 15, what one row gets depends on its source and its place there alone, and rows added at the end
 * change nothing before them.
 *
 * Two kinds need to see every key before a row can be assigned: a first pass gives them to
 * split_see, split_prepare closes it, and the second pass gives the rows to split_row in the same
 * order. Memory: limits.max_split_values for strata; times go to a file. */
#ifndef CUSP_DATA_SPLIT_H
#define CUSP_DATA_SPLIT_H

#include "base/err.h"
#include "base/str.h"

enum split_set { SPLIT_TRAINING, SPLIT_VALIDATION, SPLIT_TEST, SPLIT_NR, SPLIT_NONE = SPLIT_NR };
/* "training", "validation", "test"; "none" for SPLIT_NONE. */
const char *split_set_name(enum split_set s);
/* The three documented words, nothing else; SPLIT_NONE otherwise. */
enum split_set split_set_parse(struct str word);

enum split_kind {
    SPLIT_BY_FRACTION,
    SPLIT_BY_FILTER,     /* items only; decided by whoever knows filters (export_items.c) */
    SPLIT_BY_PREDEFINED, /* tabular: the column says it */
    SPLIT_BY_TIMESTAMP,  /* tabular: earliest rows train, latest test */
    SPLIT_BY_STRATIFIED, /* tabular: the fractions hold within each value of the column */
};

#define SPLIT_STRATA_MAX 500 /* most frequent values that are strata (reference 05 §6) */
#define SPLIT_STRATUM_MIN 3  /* rows a value needs to be one */

struct split_fractions {
    double of[SPLIT_NR];
};
/* As sent -> as used. All zero: 0.8, 0.1, 0.1. What is missing to 1 goes to the sets that were
 * given nothing, in the proportion 8:1:1, or to training when all were given something.
 * INVALID_ARGUMENT: a fraction outside [0, 1] or not a number (err.field is training_fraction,
 * ...), or a sum over 1 (err.field empty). */
int split_fractions_normalise(const struct split_fractions *sent, struct split_fractions *ret,
                              struct err *err) MUST_CHECK;

struct split;
/* fractions are normalised ones; seed: one a dataset, so that its exports agree. temp_fd (timestamp
 * split only): an empty file of the caller's for the first pass, 8 bytes a row. */
struct split *split_new(enum split_kind kind, const struct split_fractions *fractions,
                        uint64_t seed, int temp_fd);
void split_free(struct split *s); /* NULL is fine; closes nothing */

/* The next rows come from this source: its name is part of where a row stands. */
void split_source(struct split *s, struct str uri);

/* ---- first pass, of the kinds that split_needs_pass names ---- */
bool split_needs_pass(enum split_kind kind);
/* The key column's value of one row. False: it is no time (timestamp split), the row is left out.
 * What goes wrong is kept for split_prepare. */
bool split_see(struct split *s, struct str key);
/* The next row is again the first. INVALID_ARGUMENT: the column has more than
 * limits.max_split_values values; otherwise what writing and reading the temporary file said. */
int split_prepare(struct split *s, struct err *err) MUST_CHECK;

/* ---- assignment ---- */
/* The next row of the source; key: of the key column, empty for fractions. SPLIT_NONE: left out. */
enum split_set split_row(struct split *s, struct str key);
/* Item number `at` (a place that never changes) of the source, in any order; fractions only. */
enum split_set split_at(struct split *s, uint64_t at);

/* "1985-04-12T23:20:50.52Z" -> microseconds since year 1, monotone; false for anything else. Lower
 * case t and z are fine (RFC 3339 §5.6). */
bool split_time_parse(struct str s, uint64_t *ret);

#endif
