#include "base/near.h"

static char plain(char c) {
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Three rows of the usual table: edits, and an exchange of neighbours (optimal string alignment).
 */
static size_t edits(struct str a, struct str b) {
    size_t rows[3][NEAR_WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t k = 0; k <= b.n; k++) {
        last[k] = k;
    }
    for (size_t i = 1; i <= a.n; i++) {
        row[0] = i;
        for (size_t k = 1; k <= b.n; k++) {
            bool same = plain(a.p[i - 1]) == plain(b.p[k - 1]);
            row[k] = least(last[k - 1] + !same, least(last[k], row[k - 1]) + 1);
            if (i > 1 && k > 1 && plain(a.p[i - 1]) == plain(b.p[k - 2]) &&
                plain(a.p[i - 2]) == plain(b.p[k - 1])) {
                row[k] = least(row[k], before[k - 2] + 1);
            }
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b.n];
}

/* Edits to the nearest of the parts of b between dashes, or to its beginning, and one for what is
 * left out. */
static size_t edits_to_part(struct str a, struct str b) {
    size_t best = a.n > 2 && a.n < b.n ? edits(a, str_sub(b, 0, a.n)) + 1 : SIZE_MAX;
    for (struct str rest = b; rest.p;) {
        struct str part = str_cut(&rest, '-');
        if (part.n > 2 && part.n < b.n) {
            best = least(best, edits(a, part) + 1);
        }
    }
    return best;
}

void near_try(struct near *n, const char *word) {
    struct str w = str_of(word);
    if (!n->typed.n || n->typed.n > NEAR_WORD_MAX || w.n > NEAR_WORD_MAX) {
        return;
    }
    size_t d = least(edits(n->typed, w), edits_to_part(n->typed, w));
    if (!n->best || d < n->distance) {
        n->best = word;
        n->distance = d;
    }
}

const char *near_best(const struct near *n) {
    size_t allowed = n->typed.n < 4 ? 1 : n->typed.n / 3;
    return n->best && n->distance <= allowed ? n->best : NULL;
}
