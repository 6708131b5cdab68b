/* Finding the ends of records: 64 bytes at a time become three masks (quotes, commas, line feeds);
 * a running exclusive-or over the quotes tells what is inside of quoted fields. That is right as
 * long as every opening quote is the first character of its field (or the second half of ""): where
 * one is not, the record is read again byte by byte, and the masks go on after it. */
#include "data/csv.h"

#include "base/limits.h"
#include "data/gzfile.h"
#include "data/pages.h"

#include <errno.h>
#include <stdarg.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BLOCK 64
#define READ_SIZE ((size_t)512 << 10)

struct csv_reader {
    struct gzfile *file;
    char *uri;
    char *p; /* cap bytes and a page, of which BLOCK bytes may be looked at */
    size_t n, cap;
    size_t at;  /* of the record that is being looked for */
    size_t blk; /* of the block whose masks these are; its bytes below blk + blk_n */
    size_t blk_n;
    uint64_t ends, commas; /* outside of quotes, not yet used up */
    uint64_t feeds;        /* all line feeds not yet counted */
    bool inside;           /* of a quoted field after the block */
    bool may_open;         /* a quote may follow the block's last byte */
    bool is_odd;           /* the block holds a quote that the masks cannot explain */
    bool eof, started;
    bool quotes_here; /* in the block */
    bool any_quote;   /* in a block that the record has a part in */
    uint64_t line;    /* where the record begins */
    uint64_t passed;  /* line feeds within it so far */
    size_t columns;   /* commas within it so far */
};

struct csv_reader *csv_open(int fd, struct str uri) {
    struct csv_reader *r = xcalloc(1, sizeof(*r));
    r->file = gzfile_new(fd);
    r->uri = str_dup(uri);
    r->cap = 2 * READ_SIZE;
    r->p = pages_new(r->cap + PAGES_SIZE);
    r->line = 1;
    r->may_open = true;
    return r;
}

void csv_close(struct csv_reader *r) {
    if (r) {
        gzfile_free(r->file);
        free(r->uri);
        pages_free(r->p, r->cap + PAGES_SIZE);
        free(r);
    }
}

uint64_t csv_bytes_read(const struct csv_reader *r) {
    return gzfile_bytes_read(r->file);
}

int csv_fail(const struct csv_reader *r, uint64_t line, struct err *err, const char *fmt, ...) {
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return err_set(err, ERR_INVALID_ARGUMENT, "%.400s, line %llu: %s", r->uri,
                   (unsigned long long)line, what);
}

/* ---- bytes ---- */

/* What is there of the record goes as far to the front as it can such that it ends at a page: files
 * are read in whole pages, and reads into the middle of one cost the kernel twice the time. */
static void make_room(struct csv_reader *r, char *to) {
    size_t kept = r->n - r->at, at = (PAGES_SIZE - kept % PAGES_SIZE) % PAGES_SIZE;
    if (at < r->at || to != r->p) {
        memmove(to + at, r->p + r->at, kept);
        r->blk = at + (r->blk - r->at);
        r->n = at + kept;
        r->at = at;
    }
}

/* More bytes behind those there are; what lies before the record is given up. */
static int refill(struct csv_reader *r, struct err *err) {
    make_room(r, r->p);
    if (r->cap - r->n < READ_SIZE / 2) {
        if (r->n - r->at > limits.max_csv_record) {
            limits_hit(&limits.max_csv_record);
            return csv_fail(r, r->line, err,
                            "the record that begins here has more than %llu bytes "
                            "(max_csv_record): is a quote never closed?",
                            (unsigned long long)limits.max_csv_record);
        }
        char *bigger = pages_new(2 * r->cap + PAGES_SIZE);
        make_room(r, bigger);
        pages_free(r->p, r->cap + PAGES_SIZE);
        r->p = bigger;
        r->cap *= 2;
    }
    while (!r->eof && r->cap - r->n >= READ_SIZE / 2) {
        size_t got;
        if (gzfile_read(r->file, r->p + r->n, (r->cap - r->n) / PAGES_SIZE * PAGES_SIZE, &got,
                        err) < 0) {
            return err_wrap(err, "%.240s", r->uri);
        }
        r->eof = got == 0;
        r->n += got;
    }
    memset(r->p + r->n, 0, BLOCK);
    return 0;
}

static int start(struct csv_reader *r, struct err *err) {
    r->started = true;
    if (refill(r, err) < 0) {
        return -1;
    }
    const unsigned char *p = (const unsigned char *)r->p;
    if (r->n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff))) {
        return csv_fail(r, 1, err, "the file is UTF-16; CSV files must be UTF-8");
    }
    if (r->n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        r->at = r->blk = 3;
    }
    return 0;
}

/* ---- blocks ---- */

struct masks {
    uint64_t quotes, commas, feeds;
};

#ifdef __SSE2__
static uint64_t mask_of(const __m128i v[4], char c) {
    __m128i want = _mm_set1_epi8(c);
    uint64_t m = 0;
    for (int i = 0; i < 4; i++) {
        m |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v[i], want)) << (16 * i);
    }
    return m;
}

static struct masks look(const char *p) {
    __m128i v[4];
    for (int i = 0; i < 4; i++) {
        v[i] = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
    }
    return (struct masks){mask_of(v, '"'), mask_of(v, ','), mask_of(v, '\n')};
}
#else
static struct masks look(const char *p) {
    struct masks m = {0};
    for (int i = 0; i < BLOCK; i++) {
        m.quotes |= (uint64_t)(p[i] == '"') << i;
        m.commas |= (uint64_t)(p[i] == ',') << i;
        m.feeds |= (uint64_t)(p[i] == '\n') << i;
    }
    return m;
}
#endif

static unsigned count(uint64_t m) { /* not every processor we build for has an instruction */
    m -= m >> 1 & 0x5555555555555555u;
    m = (m & 0x3333333333333333u) + (m >> 2 & 0x3333333333333333u);
    m = (m + (m >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)(m * 0x0101010101010101u >> 56);
}

/* Bit i: the number of bits of m up to and including i is odd. */
static uint64_t parity(uint64_t m) {
    for (unsigned by = 1; by < 64; by *= 2) {
        m ^= m << by;
    }
    return m;
}

/* There is at least one byte at blk. */
static void next_block(struct csv_reader *r) {
    r->blk_n = r->n - r->blk < BLOCK ? r->n - r->blk : BLOCK;
    struct masks m = look(r->p + r->blk);
    uint64_t valid = r->blk_n == BLOCK ? ~0ull : (1ull << r->blk_n) - 1;
    m.quotes &= valid;
    m.commas &= valid;
    m.feeds &= valid;
    r->feeds = m.feeds;
    r->is_odd = false;
    r->quotes_here = m.quotes || r->inside;
    r->any_quote |= r->quotes_here;
    if (!r->quotes_here) {
        r->commas = m.commas;
        r->ends = m.feeds;
        r->may_open = (m.commas | m.feeds) >> (r->blk_n - 1) & 1;
        return;
    }
    uint64_t in = parity(m.quotes) ^ (r->inside ? ~0ull : 0);
    r->commas = m.commas & ~in;
    r->ends = m.feeds & ~in;
    uint64_t fine = (r->commas | r->ends | m.quotes) << 1 | r->may_open;
    uint64_t odd = m.quotes & in & ~fine;
    if (odd) {
        uint64_t below = (odd & -odd) - 1;
        r->is_odd = true;
        r->commas &= below;
        r->ends &= below;
        r->feeds &= below;
        return;
    }
    r->inside = in >> (r->blk_n - 1) & 1;
    r->may_open = (r->commas | r->ends | m.quotes) >> (r->blk_n - 1) & 1;
}

/* ---- byte by byte ---- */

enum where { FIELD_START, PLAIN, QUOTED, QUOTE_IN_QUOTED };

static enum where step(enum where w, char c) {
    switch (w) {
    case FIELD_START:
        return c == '"' ? QUOTED : c == ',' ? FIELD_START : PLAIN;
    case PLAIN:
        return c == ',' ? FIELD_START : PLAIN;
    case QUOTED:
        return c == '"' ? QUOTE_IN_QUOTED : QUOTED;
    case QUOTE_IN_QUOTED:
        return c == '"' ? QUOTED : c == ',' ? FIELD_START : PLAIN;
    }
    return w;
}

/* 1: *ret_end is the record's line feed or the end of the file; 0: unclosed quote; -1: failed. */
static int crawl(struct csv_reader *r, size_t *ret_end, struct err *err) {
    enum where w = FIELD_START;
    r->columns = 0;
    r->passed = 0;
    for (size_t i = 0;; i++) {
        if (r->at + i == r->n) {
            if (!r->eof && refill(r, err) < 0) {
                return -1;
            }
            if (r->at + i == r->n) {
                *ret_end = r->n;
                return w != QUOTED;
            }
        }
        char c = r->p[r->at + i];
        if (c == '\n' && w != QUOTED) {
            *ret_end = r->at + i;
            return 1;
        }
        r->columns += c == ',' && w != QUOTED;
        r->passed += c == '\n';
        w = step(w, c);
    }
}

/* ---- records ---- */

static int unclosed(struct csv_reader *r, struct err *err) {
    return csv_fail(r, r->line, err,
                    "a quoted field of the record that begins here is never closed");
}

static void emit(struct csv_reader *r, size_t end, struct csv_record *ret) {
    size_t n = end - r->at;
    if (n && r->p[end - 1] == '\r') {
        n--;
    }
    *ret = (struct csv_record){.text = str_n(r->p + r->at, n),
                               .line = r->line,
                               .columns = r->columns + 1,
                               .has_quotes = r->any_quote};
    r->line += r->passed + 1;
    r->at = end < r->n ? end + 1 : end;
    r->columns = 0;
    r->passed = 0;
    r->any_quote = r->quotes_here; /* the block may hold the beginning of the next record */
}

static int crawl_record(struct csv_reader *r, struct csv_record *ret, struct err *err) {
    size_t end = 0;
    int got = crawl(r, &end, err);
    if (got <= 0) {
        return got < 0 ? -1 : unclosed(r, err);
    }
    r->inside = r->is_odd = r->quotes_here = false;
    emit(r, end, ret);
    r->blk = r->at;
    r->blk_n = 0;
    r->commas = r->feeds = 0;
    r->may_open = true;
    return 1;
}

static int next_record(struct csv_reader *r, struct csv_record *ret, struct err *err) {
    if (!r->started && start(r, err) < 0) {
        return -1;
    }
    while (!r->ends && !r->is_odd) { /* the block holds no end: go on to the next */
        r->columns += count(r->commas);
        r->passed += count(r->feeds);
        r->blk += r->blk_n;
        r->blk_n = 0;
        r->commas = r->feeds = 0;
        if (r->n - r->blk < BLOCK && !r->eof && refill(r, err) < 0) {
            return -1;
        }
        if (r->blk < r->n) {
            next_block(r);
        } else if (r->at == r->n) {
            return 0;
        } else if (r->inside) {
            return unclosed(r, err);
        } else {
            r->quotes_here = false;
            emit(r, r->n, ret);
            return 1;
        }
    }
    if (!r->ends) {
        return crawl_record(r, ret, err);
    }
    unsigned bit = (unsigned)__builtin_ctzll(r->ends);
    uint64_t upto = bit == 63 ? ~0ull : (2ull << bit) - 1;
    r->columns += count(r->commas & upto);
    r->passed += count(r->feeds & upto) - 1;
    r->ends &= ~upto;
    r->commas &= ~upto;
    r->feeds &= ~upto;
    emit(r, r->blk + bit, ret);
    return 1;
}

int csv_next(struct csv_reader *r, struct csv_record *ret, struct err *err) {
    for (;;) {
        int got = next_record(r, ret, err);
        if (got != 1) {
            return got;
        }
        if (ret->text.n > limits.max_csv_record) {
            limits_hit(&limits.max_csv_record);
            return csv_fail(r, ret->line, err,
                            "the record has %zu bytes; at most %llu are allowed (max_csv_record)",
                            ret->text.n, (unsigned long long)limits.max_csv_record);
        }
        if (ret->text.n) {
            return 1;
        }
    }
}

bool csv_field(const struct csv_record *rec, size_t index, struct buf *scratch, struct str *ret) {
    const char *p = rec->text.p, *end = p + rec->text.n;
    if (!rec->has_quotes) {
        for (size_t i = 0; i < index; i++) {
            p = memchr(p, ',', (size_t)(end - p));
            if (!p) {
                return false;
            }
            p++;
        }
        const char *stop = memchr(p, ',', (size_t)(end - p));
        *ret = str_n(p, (size_t)((stop ? stop : end) - p));
        return true;
    }
    enum where w = FIELD_START;
    size_t at = 0;
    buf_clear(scratch);
    for (; p < end; p++) {
        if (*p == ',' && w != QUOTED) {
            if (at++ == index) {
                break;
            }
        } else if (at == index && !(*p == '"' && (w == FIELD_START || w == QUOTED))) {
            buf_putc(scratch, *p); /* the second quote of "" is the one that is kept */
        }
        w = step(w, *p);
    }
    if (p == end && at < index) {
        return false;
    }
    *ret = scratch->n ? buf_str(scratch) : STR("");
    return true;
}

struct str *csv_fields(const struct csv_record *rec, struct arena *a) {
    struct str *fields = arena_calloc(a, rec->columns, sizeof(*fields));
    char *text = arena_memdup(a, rec->text.p, rec->text.n); /* quotes are taken out in place */
    enum where w = FIELD_START;
    size_t at = 0, n = 0;
    fields[0] = str_n(text, 0);
    for (size_t i = 0; i < rec->text.n; i++) {
        char c = rec->text.p[i];
        if (c == ',' && w != QUOTED) {
            fields[++at] = str_n(text + n, 0);
        } else if (!(c == '"' && (w == FIELD_START || w == QUOTED))) {
            text[n++] = c;
            fields[at].n++;
        }
        w = step(w, c);
    }
    return fields;
}
