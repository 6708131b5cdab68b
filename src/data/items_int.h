/* Private to src/data: the file that holds the items of a dataset. */
#ifndef CUSP_DATA_ITEMS_INT_H
#define CUSP_DATA_ITEMS_INT_H

#include "data/items.h"

#include <sqlite3.h>

#define ITEMS_APPLICATION_ID 0x63757369 /* "cusi" */
#define ITEMS_VERSION 2                 /* 1: items without size and checksum */

/* Columns of an item's row, in the order that item_read takes them. */
#define ITEM_COLUMNS "seq, id, media, inline, use, created, updated, text, mime, labels"
#define ANNOTATION_COLUMNS                                                                         \
    "a.id, a.kind, a.single, a.spec, a.created, a.updated, a.body, a.labels, s.name"
#define ANNOTATIONS_OF                                                                             \
    "SELECT " ANNOTATION_COLUMNS                                                                   \
    " FROM annotation a LEFT JOIN spec s ON s.id = a.spec WHERE a.item = ?1 ORDER BY a.n"

struct items {
    sqlite3 *db; /* NULL: a set without items */
};

/* Always -1. */
int items_db_error(sqlite3 *db, int rc, struct err *err);
int items_exec(sqlite3 *db, const char *sql, struct err *err);
/* NULL with *err. */
sqlite3_stmt *items_prepare(sqlite3 *db, const char *sql, struct err *err);
struct str items_text(sqlite3_stmt *st, int column);
int items_read_counts(sqlite3 *db, struct item_counts *ret, struct err *err);

/* Views live as long as the statement stands on the row; the labels' array is in the arena. */
void item_read(sqlite3_stmt *st, struct arena *a, struct data_item *ret);
/* Everything copied to the arena. */
void annotation_read(sqlite3_stmt *st, struct arena *a, struct data_annotation *ret);

/* Labels as one blob: key NUL value NUL ... in the order given. */
void labels_encode(struct buf *b, const struct item_labels *l);
struct item_labels labels_decode(struct arena *a, struct str blob);

/* ---- items_same.c: the item that has the same bytes under another name. One a writer. */
struct item_matcher;
#define ITEM_CRC_UNASKED (-2)
struct item_matcher *item_matcher_new(sqlite3 *db, const struct item_contents *c, struct err *err);
void item_matcher_free(struct item_matcher *m); /* NULL is fine */
/* Does it say of its bytes what item_matcher_find needs? */
bool item_has_bytes(const struct data_item *in);
/* *ret_seq 0: there is none. *ret_crc is for item_matcher_note. */
int item_matcher_find(struct item_matcher *m, const struct data_item *in, uint64_t *ret_seq,
                      int64_t *ret_crc, struct err *err) MUST_CHECK;
/* The item of this seq has these bytes. */
int item_matcher_note(struct item_matcher *m, uint64_t seq, const struct data_item *in, int64_t crc,
                      struct err *err) MUST_CHECK;

/* 63 bits, not 0. */
uint64_t item_id_of(bool is_inline, struct str text);
uint64_t spec_id_of(struct str display_name);
uint64_t annotation_id_of(uint64_t item, const struct data_annotation *n, struct str labels);

#endif
