/* Items whose bytes are the same under two names (reference 08 §4). Sizes come for nothing;
 * checksums are asked for when two items have one size, and files are read when two have one
 * checksum as well: so next to nothing is read but what is really there twice. */
#include "base/enc.h"
#include "data/items_int.h"

#include <errno.h>
#include <unistd.h>

#define COMPARE_AT_ONCE ((size_t)256 << 10)
/* Smaller objects are read: that is faster than to ask for what is known of them. */
#define ASK_FROM ((uint64_t)1 << 20)
#define CRC_UNKNOWN (-1) /* it was asked for, and cannot be said */

enum stmt { ANY_OF_SIZE, UNASKED, ALIKE, NOTE, STMT_NR };
static const char *const texts[STMT_NR] = {
    [ANY_OF_SIZE] = "SELECT 1 FROM item WHERE size = ?1 LIMIT 1",
    [UNASKED] = "SELECT seq, text FROM item WHERE size = ?1 AND crc IS NULL LIMIT 1",
    [ALIKE] = "SELECT seq, inline, text FROM item WHERE size = ?1 AND crc = ?2 AND media = ?3 "
              "ORDER BY seq",
    [NOTE] = "UPDATE item SET size = ?2, crc = ?3 WHERE seq = ?1",
};

struct item_matcher {
    sqlite3 *db;
    const struct item_contents *contents;
    sqlite3_stmt *st[STMT_NR];
    bool has_files; /* there are items with bytes that are files: texts may be the same as one */
    char *buffers;  /* two of COMPARE_AT_ONCE; made when first needed */
};

void item_matcher_free(struct item_matcher *m) {
    if (m) {
        for (int i = 0; i < STMT_NR; i++) {
            sqlite3_finalize(m->st[i]);
        }
        free(m->buffers);
        free(m);
    }
}

static int look_for_files(struct item_matcher *m, struct err *err) {
    sqlite3_stmt *st = items_prepare(
        m->db, "SELECT 1 FROM item WHERE size IS NOT NULL AND inline = 0 LIMIT 1", err);
    if (!st) {
        return -1;
    }
    int rc = sqlite3_step(st);
    m->has_files = rc == SQLITE_ROW;
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : items_db_error(m->db, rc, err);
}

struct item_matcher *item_matcher_new(sqlite3 *db, const struct item_contents *c, struct err *err) {
    struct item_matcher *m = xcalloc(1, sizeof(*m));
    m->db = db;
    m->contents = c;
    for (int i = 0; i < STMT_NR; i++) {
        m->st[i] = items_prepare(db, texts[i], err);
        if (!m->st[i]) {
            item_matcher_free(m);
            return NULL;
        }
    }
    if (look_for_files(m, err)) {
        item_matcher_free(m);
        return NULL;
    }
    return m;
}

/* Steps; 1: a row, 0: none, -1. */
static int step(struct item_matcher *m, enum stmt which, struct err *err) {
    int rc = sqlite3_step(m->st[which]);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : items_db_error(m->db, rc, err);
}

static int note(struct item_matcher *m, uint64_t seq, uint64_t size, int64_t crc, struct err *err) {
    sqlite3_stmt *st = m->st[NOTE];
    sqlite3_bind_int64(st, 1, (int64_t)seq);
    sqlite3_bind_int64(st, 2, (int64_t)size);
    if (crc == ITEM_CRC_UNASKED) {
        sqlite3_bind_null(st, 3);
    } else {
        sqlite3_bind_int64(st, 3, crc);
    }
    int rc = step(m, NOTE, err);
    sqlite3_reset(st);
    return rc;
}

/* ---- bytes ---- */

static char *buffers(struct item_matcher *m) {
    if (!m->buffers) {
        m->buffers = xmalloc(2 * COMPARE_AT_ONCE);
    }
    return m->buffers;
}

struct bytes {
    int fd; /* -1: in memory */
    struct str text;
};

static int bytes_open(const struct item_matcher *m, bool is_inline, struct str text,
                      struct bytes *ret) {
    uint64_t size;
    auto_free char *uri = is_inline ? NULL : str_dup(text);
    *ret = (struct bytes){.fd = -1, .text = text};
    return is_inline ? 0 : m->contents->open(m->contents->arg, uri, &ret->fd, &size, NULL);
}

/* Up to COMPARE_AT_ONCE; less only at the end. -1: not to be read. */
static ssize_t bytes_read(const struct bytes *b, uint64_t at, char *to) {
    size_t n = 0;
    if (b->fd < 0) {
        struct str part = str_sub(b->text, (size_t)at, COMPARE_AT_ONCE);
        memcpy(to, part.p, part.n);
        return (ssize_t)part.n;
    }
    while (n < COMPARE_AT_ONCE) {
        ssize_t got = pread(b->fd, to + n, COMPARE_AT_ONCE - n, (off_t)(at + n));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -1 : (ssize_t)n;
        }
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static bool are_same(struct item_matcher *m, const struct bytes *a, const struct bytes *b) {
    char *one = buffers(m), *two = one + COMPARE_AT_ONCE;
    for (uint64_t at = 0;; at += COMPARE_AT_ONCE) {
        ssize_t na = bytes_read(a, at, one), nb = bytes_read(b, at, two);
        if (na < 0 || na != nb || memcmp(one, two, (size_t)na) != 0) {
            return false;
        }
        if ((size_t)na < COMPARE_AT_ONCE) {
            return true;
        }
    }
}

/* Objects that cannot be read now are the same as no other. */
static bool same_bytes(struct item_matcher *m, const struct data_item *in, bool is_inline,
                       struct str text) {
    struct bytes a = {.fd = -1}, b = {.fd = -1};
    bool same = bytes_open(m, in->is_inline, in->text, &a) == 0 &&
                bytes_open(m, is_inline, text, &b) == 0 && are_same(m, &a, &b);
    mem_auto_close(&a.fd);
    mem_auto_close(&b.fd);
    return same;
}

/* ---- checksums ---- */

static int64_t read_crc(struct item_matcher *m, struct str uri, uint64_t size) {
    struct bytes b;
    uint32_t crc = 0;
    uint64_t at = 0;
    ssize_t n = 0;
    if (bytes_open(m, false, uri, &b)) {
        return CRC_UNKNOWN;
    }
    do {
        n = bytes_read(&b, at, buffers(m));
        crc = n > 0 ? enc_crc32c(crc, m->buffers, (size_t)n) : crc;
        at += n > 0 ? (uint64_t)n : 0;
    } while ((size_t)n == COMPARE_AT_ONCE && at <= ASK_FROM);
    close(b.fd);
    return n >= 0 && at == size ? (int64_t)crc : CRC_UNKNOWN; /* else it has changed meanwhile */
}

static int64_t ask(struct item_matcher *m, struct str uri, uint64_t size) {
    uint32_t crc;
    auto_free char *z = str_dup(uri);
    if (size < ASK_FROM) {
        return size ? read_crc(m, uri, size) : 0;
    }
    return m->contents->crc32c(m->contents->arg, z, &crc) ? (int64_t)crc : CRC_UNKNOWN;
}

/* The first of a size was not asked for its checksum: until now it was the only one. */
static int ask_unasked(struct item_matcher *m, uint64_t size, struct err *err) {
    for (;;) {
        sqlite3_stmt *st = m->st[UNASKED];
        sqlite3_bind_int64(st, 1, (int64_t)size);
        int rc = step(m, UNASKED, err);
        uint64_t seq = rc > 0 ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
        int64_t crc = rc > 0 ? ask(m, items_text(st, 1), size) : 0;
        sqlite3_reset(st);
        if (rc <= 0 || (rc = note(m, seq, size, crc, err)) < 0) {
            return rc;
        }
    }
}

/* ---- calls ---- */

bool item_has_bytes(const struct data_item *in) {
    return in->is_inline || in->has_size;
}

static uint64_t size_of(const struct data_item *in) {
    return in->is_inline ? in->text.n : in->size;
}

int item_matcher_find(struct item_matcher *m, const struct data_item *in, uint64_t *ret_seq,
                      int64_t *ret_crc, struct err *err) {
    uint64_t size = size_of(in);
    *ret_seq = 0;
    *ret_crc = in->is_inline ? (int64_t)enc_crc32c(0, in->text.p, in->text.n) : ITEM_CRC_UNASKED;
    if (in->is_inline && !m->has_files) {
        return 0; /* the same text is found by its id */
    }
    m->has_files |= !in->is_inline;
    sqlite3_bind_int64(m->st[ANY_OF_SIZE], 1, (int64_t)size);
    int rc = step(m, ANY_OF_SIZE, err);
    sqlite3_reset(m->st[ANY_OF_SIZE]);
    if (rc <= 0 || ask_unasked(m, size, err)) {
        return rc < 0 || rc > 0 ? -1 : 0;
    }
    if (!in->is_inline) {
        *ret_crc = ask(m, in->text, size);
    }
    if (*ret_crc == CRC_UNKNOWN) {
        return 0;
    }
    sqlite3_stmt *st = m->st[ALIKE];
    sqlite3_bind_int64(st, 1, (int64_t)size);
    sqlite3_bind_int64(st, 2, *ret_crc);
    sqlite3_bind_int(st, 3, (int)in->media);
    while (*ret_seq == 0 && (rc = step(m, ALIKE, err)) > 0) {
        if (!size || same_bytes(m, in, sqlite3_column_int(st, 1) != 0, items_text(st, 2))) {
            *ret_seq = (uint64_t)sqlite3_column_int64(st, 0);
        }
    }
    sqlite3_reset(st);
    return rc < 0 ? -1 : 0;
}

int item_matcher_note(struct item_matcher *m, uint64_t seq, const struct data_item *in, int64_t crc,
                      struct err *err) {
    return note(m, seq, size_of(in), crc, err);
}
