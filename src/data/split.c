/* See split.h. Three mechanisms: tens of neighbours for fractions, quotas that are drawn down for
 * strata, and two times found by counting digits for timestamps. */
#include "data/split.h"

#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

#define TENS 10
#define SUM_SLACK 1e-6 /* 0.7 + 0.2 + 0.1 is not 1 */
#define TIMES_AT_ONCE 8192
#define DIGIT_BITS 16
#define DIGITS (1u << DIGIT_BITS)

static const char *const set_names[] = {"training", "validation", "test", "none"};
static const char *const fraction_names[] = {"training_fraction", "validation_fraction",
                                             "test_fraction"};

struct stratum {
    uint64_t hash, left;
    uint64_t quota[SPLIT_NR];
};

struct seen {
    uint64_t hash, rows; /* hash 0: free */
};

struct boundary { /* the times before it: all below `time`, and the first `ties` of those equal */
    uint64_t time, ties, met;
    bool is_end; /* everything is before it */
};

struct split {
    enum split_kind kind;
    double below[SPLIT_NR]; /* upper ends in [0, 1) */
    struct split_fractions f;
    uint64_t seed;
    /* tens */
    uint64_t source, at, block;
    bool has_block;
    uint8_t order[TENS];
    bool
        is_whole[TENS]; /* all of this tenth is of set_of_tenth: the place within it is no matter */
    enum split_set set_of_tenth[TENS];
    /* strata */
    struct seen *seen;
    size_t nr_seen, seen_cap;
    bool too_many;
    struct stratum *strata; /* by hash */
    size_t nr_strata;
    /* times */
    int fd;
    uint64_t *times;
    size_t nr_times;
    uint64_t all_times;
    int write_errno;
    struct boundary ends[2]; /* of training, of validation */
};

const char *split_set_name(enum split_set s) {
    return set_names[s <= SPLIT_NONE ? s : SPLIT_NONE];
}

enum split_set split_set_parse(struct str word) {
    for (enum split_set s = SPLIT_TRAINING; s < SPLIT_NR; s++) {
        if (str_eqc(word, set_names[s])) {
            return s;
        }
    }
    return SPLIT_NONE;
}

int split_fractions_normalise(const struct split_fractions *sent, struct split_fractions *ret,
                              struct err *err) {
    static const double usual[SPLIT_NR] = {0.8, 0.1, 0.1};
    double sum = 0, room = 0;
    for (int i = 0; i < SPLIT_NR; i++) {
        double v = sent->of[i];
        if (!(v >= 0 && v <= 1)) {
            return err_field(err, ERR_INVALID_ARGUMENT, fraction_names[i],
                             "The fraction is %g; it must be between 0 and 1.", v);
        }
        sum += v;
        room += v > 0 ? 0 : usual[i];
    }
    if (sum > 1 + SUM_SLACK) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "The fractions %g, %g and %g sum to %g; at most 1 is allowed.", sent->of[0],
                       sent->of[1], sent->of[2], sum);
    }
    double rest = sum < 1 - SUM_SLACK ? 1 - sum : 0;
    for (int i = 0; i < SPLIT_NR; i++) {
        ret->of[i] = sent->of[i];
        if (room > 0 && !(sent->of[i] > 0)) {
            ret->of[i] = rest * usual[i] / room;
        }
    }
    if (!(room > 0)) {
        ret->of[SPLIT_TRAINING] += rest;
    }
    return 0;
}

/* Sums, not branches: which set it is cannot be foretold. */
static enum split_set set_of(const struct split *s, double place) {
    return (enum split_set)((place >= s->below[0]) + (place >= s->below[1]));
}

static double place_of(unsigned tenth, double within) {
    return (tenth + within) / TENS;
}

struct split *split_new(enum split_kind kind, const struct split_fractions *fractions,
                        uint64_t seed, int temp_fd) {
    struct split *s = xcalloc(1, sizeof(*s));
    s->kind = kind;
    s->f = *fractions;
    s->seed = seed;
    s->fd = temp_fd;
    double sum = 0;
    int last = SPLIT_NR - 1;
    while (last > 0 && !(fractions->of[last] > 0)) {
        last--;
    }
    for (int i = 0; i < SPLIT_NR; i++) {
        sum += fractions->of[i];
        s->below[i] = i >= last ? 2 : sum; /* roundings must not make a set that nobody wants */
    }
    for (unsigned i = 0; i < TENS; i++) {
        s->set_of_tenth[i] = set_of(s, place_of(i, 0));
        s->is_whole[i] = s->set_of_tenth[i] == set_of(s, place_of(i, 1 - 0x1p-53));
    }
    return s;
}

void split_free(struct split *s) {
    if (s) {
        free(s->seen);
        free(s->strata);
        free(s->times);
        free(s);
    }
}

bool split_needs_pass(enum split_kind kind) {
    return kind == SPLIT_BY_TIMESTAMP || kind == SPLIT_BY_STRATIFIED;
}

/* ---- chance ---- */

static uint64_t mix(uint64_t x) { /* splitmix64: every bit of x changes half of the answer's */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void split_source(struct split *s, struct str uri) {
    s->source = mix(s->seed ^ str_hash(uri));
    s->at = 0;
    s->has_block = false;
}

enum split_set split_at(struct split *s, uint64_t at) {
    uint64_t block = at / TENS;
    if (!s->has_block || s->block != block) {
        uint64_t chance = mix(s->source ^ mix(block));
        for (uint8_t i = 0; i < TENS; i++) {
            uint8_t j = (uint8_t)(chance % (i + 1u));
            chance = mix(chance);
            s->order[i] = s->order[j];
            s->order[j] = i;
        }
        s->block = block;
        s->has_block = true;
    }
    uint8_t tenth = s->order[at - block * TENS];
    if (s->is_whole[tenth]) {
        return s->set_of_tenth[tenth];
    }
    double within = (double)(mix(~s->source ^ mix(at)) >> 11) * 0x1p-53;
    return set_of(s, place_of(tenth, within));
}

/* ---- strata ---- */

static uint64_t value_hash(struct str value) {
    uint64_t h = mix(str_hash(value));
    return h ? h : 1;
}

static struct seen *seen_slot(struct seen *slots, size_t cap, uint64_t hash) {
    size_t i = hash & (cap - 1);
    while (slots[i].hash && slots[i].hash != hash) {
        i = (i + 1) & (cap - 1);
    }
    return &slots[i];
}

static void see_value(struct split *s, struct str value) {
    if (s->nr_seen * 2 >= s->seen_cap) {
        size_t cap = s->seen_cap ? s->seen_cap * 2 : 1024;
        struct seen *bigger = xcalloc(cap, sizeof(*bigger));
        for (size_t i = 0; i < s->seen_cap; i++) {
            if (s->seen[i].hash) {
                *seen_slot(bigger, cap, s->seen[i].hash) = s->seen[i];
            }
        }
        free(s->seen);
        s->seen = bigger;
        s->seen_cap = cap;
    }
    struct seen *e = seen_slot(s->seen, s->seen_cap, value_hash(value));
    if (!e->hash && s->nr_seen >= limits.max_split_values) {
        s->too_many = true;
        return;
    }
    s->nr_seen += !e->hash;
    e->hash = value_hash(value);
    e->rows++;
}

static int by_rows(const void *a, const void *b) {
    const struct seen *x = a, *y = b;
    return x->rows != y->rows ? (x->rows < y->rows ? 1 : -1) : x->hash < y->hash ? -1 : 1;
}

static int by_hash(const void *a, const void *b) {
    const struct stratum *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Whole rows, largest remainders first; every set that is wanted gets one. */
static void share_out(const struct split *s, uint64_t rows, uint64_t quota[SPLIT_NR]) {
    double rest[SPLIT_NR];
    uint64_t given = 0;
    for (int i = 0; i < SPLIT_NR; i++) {
        double want = s->f.of[i] * (double)rows;
        quota[i] = (uint64_t)want;
        rest[i] = s->f.of[i] > 0 ? want - (double)quota[i] : -1;
        given += quota[i];
    }
    for (; given < rows; given++) {
        int best = 0;
        for (int i = 1; i < SPLIT_NR; i++) {
            best = rest[i] > rest[best] ? i : best;
        }
        quota[best]++;
        rest[best] -= 1;
    }
    for (int i = 0; i < SPLIT_NR; i++) {
        int most = 0;
        for (int k = 1; k < SPLIT_NR; k++) {
            most = quota[k] > quota[most] ? k : most;
        }
        if (s->f.of[i] > 0 && !quota[i]) {
            quota[most]--;
            quota[i]++;
        }
    }
}

static int prepare_strata(struct split *s, struct err *err) {
    if (s->too_many) {
        limits_hit(&limits.max_split_values);
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "the column has more than %llu different values (max_split_values); a "
                       "stratified split needs a categorical column",
                       (unsigned long long)limits.max_split_values);
    }
    size_t n = 0;
    for (size_t i = 0; i < s->seen_cap; i++) {
        if (s->seen[i].hash && s->seen[i].rows >= SPLIT_STRATUM_MIN) {
            s->seen[n++] = s->seen[i];
        }
    }
    if (n) {
        qsort(s->seen, n, sizeof(*s->seen), by_rows);
    }
    s->nr_strata = n < SPLIT_STRATA_MAX ? n : SPLIT_STRATA_MAX;
    s->strata = xcalloc(s->nr_strata + 1, sizeof(*s->strata));
    for (size_t i = 0; i < s->nr_strata; i++) {
        s->strata[i].hash = s->seen[i].hash;
        s->strata[i].left = s->seen[i].rows;
        share_out(s, s->seen[i].rows, s->strata[i].quota);
    }
    qsort(s->strata, s->nr_strata, sizeof(*s->strata), by_hash);
    free(take(&s->seen));
    s->seen_cap = s->nr_seen = 0;
    return 0;
}

static enum split_set draw(struct split *s, struct str value, uint64_t at) {
    struct stratum key = {.hash = value_hash(value)};
    struct stratum *t =
        s->nr_strata ? bsearch(&key, s->strata, s->nr_strata, sizeof(key), by_hash) : NULL;
    if (!t || !t->left) { /* not one of the frequent ones, or a row that was not there before */
        return split_at(s, at);
    }
    uint64_t which = mix(s->seed ^ mix(t->hash ^ mix(t->left))) % t->left;
    t->left--;
    for (enum split_set i = SPLIT_TRAINING; i < SPLIT_TEST; i++) {
        if (which < t->quota[i]) {
            t->quota[i]--;
            return i;
        }
        which -= t->quota[i];
    }
    t->quota[SPLIT_TEST]--;
    return SPLIT_TEST;
}

/* ---- times ---- */

static bool digits(const char *p, int n, unsigned *ret) {
    unsigned v = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
        v = v * 10 + (unsigned)(p[i] - '0');
    }
    *ret = v;
    return true;
}

static bool is_leap(unsigned y) {
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

bool split_time_parse(struct str s, uint64_t *ret) {
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    unsigned y, mo, d, h, mi, sec, us = 0;
    const char *p = s.p;
    if (s.n < 20 || !digits(p, 4, &y) || p[4] != '-' || !digits(p + 5, 2, &mo) || p[7] != '-' ||
        !digits(p + 8, 2, &d) || (p[10] != 'T' && p[10] != 't') || !digits(p + 11, 2, &h) ||
        p[13] != ':' || !digits(p + 14, 2, &mi) || p[16] != ':' || !digits(p + 17, 2, &sec) ||
        (p[s.n - 1] != 'Z' && p[s.n - 1] != 'z')) {
        return false;
    }
    if (s.n > 20) {
        size_t nr = s.n - 21;
        if (p[19] != '.' || nr == 0) {
            return false;
        }
        for (size_t i = 0; i < nr; i++) {
            if (p[20 + i] < '0' || p[20 + i] > '9') {
                return false;
            }
        }
        for (size_t i = 0; i < 6; i++) {
            us = us * 10 + (i < nr ? (unsigned)(p[20 + i] - '0') : 0);
        }
    }
    if (mo < 1 || mo > 12 || d < 1 || d > month_days[mo - 1] + (mo == 2 && is_leap(y) ? 1u : 0u) ||
        h > 23 || mi > 59 || sec > 60) {
        return false;
    }
    uint64_t years = y, leaps = y ? (y - 1) / 4 - (y - 1) / 100 + (y - 1) / 400 + 1 : 0;
    uint64_t days = years * 365 + leaps + before[mo - 1] + (mo > 2 && is_leap(y) ? 1 : 0) + d - 1;
    *ret = (((days * 24 + h) * 60 + mi) * 60 + sec) * 1000000 + us;
    return true;
}

static void flush_times(struct split *s) {
    const char *p = (const char *)s->times;
    size_t n = s->nr_times * sizeof(*s->times);
    while (n && !s->write_errno) {
        ssize_t put = write(s->fd, p, n);
        if (put < 0 && errno != EINTR) {
            s->write_errno = errno;
        } else if (put > 0) {
            p += put;
            n -= (size_t)put;
        }
    }
    s->nr_times = 0;
}

static bool see_time(struct split *s, struct str key) {
    uint64_t t;
    if (!split_time_parse(key, &t)) {
        return false;
    }
    if (!s->times) {
        s->times = xcalloc(TIMES_AT_ONCE, sizeof(*s->times));
    }
    s->times[s->nr_times++] = t;
    s->all_times++;
    if (s->nr_times == TIMES_AT_ONCE) {
        flush_times(s);
    }
    return true;
}

struct search { /* for the time of one rank, digit by digit from the top */
    uint64_t prefix, rank, below;
    uint64_t *rows; /* by the next digit */
};

static void count_digit(const struct split *s, size_t n, unsigned shift, struct search *a) {
    for (size_t i = 0; i < n; i++) {
        uint64_t t = s->times[i];
        if (shift + DIGIT_BITS == 64 || t >> (shift + DIGIT_BITS) == a->prefix) {
            a->rows[t >> shift & (DIGITS - 1)]++;
        }
    }
}

static int read_times(struct split *s, uint64_t at, size_t *ret_n, struct err *err) {
    size_t want = (size_t)(s->all_times - at < TIMES_AT_ONCE ? s->all_times - at : TIMES_AT_ONCE);
    for (size_t got = 0; got < want * sizeof(*s->times);) {
        ssize_t n = pread(s->fd, (char *)s->times + got, want * sizeof(*s->times) - got,
                          (off_t)(at * sizeof(*s->times) + got));
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return err_sys(err, n ? errno : EIO, "read the times of the rows");
        }
        got += n > 0 ? (size_t)n : 0;
    }
    *ret_n = want;
    return 0;
}

static int prepare_times(struct split *s, struct err *err) {
    flush_times(s);
    if (s->write_errno) {
        return err_sys(err, s->write_errno, "note the times of the rows");
    }
    struct search a[2] = {0};
    auto_free uint64_t *rows = xcalloc(2 * (size_t)DIGITS, sizeof(*rows));
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        sum += s->f.of[i];
        double want = round(sum * (double)s->all_times);
        a[i].rank = want < (double)s->all_times ? (uint64_t)want : s->all_times;
        a[i].rows = rows + (size_t)i * DIGITS;
        s->ends[i] = (struct boundary){.is_end = a[i].rank == s->all_times};
    }
    for (unsigned shift = 64; s->all_times && shift > 0;) {
        shift -= DIGIT_BITS;
        memset(rows, 0, 2 * (size_t)DIGITS * sizeof(*rows));
        size_t n = 0;
        for (uint64_t at = 0; at < s->all_times; at += n) {
            if (read_times(s, at, &n, err) < 0) {
                return -1;
            }
            count_digit(s, n, shift, &a[0]);
            count_digit(s, n, shift, &a[1]);
        }
        for (int i = 0; i < 2; i++) {
            uint64_t digit = 0;
            while (!s->ends[i].is_end && a[i].below + a[i].rows[digit] <= a[i].rank) {
                a[i].below += a[i].rows[digit++];
            }
            a[i].prefix = a[i].prefix << DIGIT_BITS | digit;
        }
    }
    for (int i = 0; i < 2; i++) {
        s->ends[i].time = a[i].prefix;
        s->ends[i].ties = a[i].rank - a[i].below;
    }
    return 0;
}

static bool is_before(struct boundary *b, uint64_t t) {
    return b->is_end || t < b->time || (t == b->time && b->met++ < b->ties);
}

static enum split_set set_of_time(struct split *s, struct str key) {
    uint64_t t;
    if (!split_time_parse(key, &t)) {
        return SPLIT_NONE;
    }
    bool trains = is_before(&s->ends[0], t), validates = is_before(&s->ends[1], t);
    return trains ? SPLIT_TRAINING : validates ? SPLIT_VALIDATION : SPLIT_TEST;
}

/* ---- by kind ---- */

bool split_see(struct split *s, struct str key) {
    if (s->kind == SPLIT_BY_TIMESTAMP) {
        return see_time(s, key);
    }
    see_value(s, key);
    return true;
}

int split_prepare(struct split *s, struct err *err) {
    s->at = 0;
    return s->kind == SPLIT_BY_TIMESTAMP    ? prepare_times(s, err)
           : s->kind == SPLIT_BY_STRATIFIED ? prepare_strata(s, err)
                                            : 0;
}

enum split_set split_row(struct split *s, struct str key) {
    uint64_t at = s->at++;
    switch (s->kind) {
    case SPLIT_BY_FRACTION:
        return split_at(s, at);
    case SPLIT_BY_PREDEFINED:
        return split_set_parse(key);
    case SPLIT_BY_TIMESTAMP:
        return set_of_time(s, key);
    case SPLIT_BY_STRATIFIED:
        return draw(s, key, at);
    case SPLIT_BY_FILTER:
        break;
    }
    return SPLIT_NONE;
}
