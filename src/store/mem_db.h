/* The memory store's data: rows, events and key/values in maps, and transactions applied to them
 * all or nothing. No threads, no callbacks; mem.c gives it its asynchronous face. */
#ifndef CUSP_STORE_MEM_DB_H
#define CUSP_STORE_MEM_DB_H

#include "store/store.h"
#include "store/token.h"

struct mem_db;

struct mem_db *mem_db_new(const uint8_t token_key[TOKEN_KEY_BYTES]);
void mem_db_free(struct mem_db *db);

/* All of the ops, or none and *err. */
int mem_db_apply(struct mem_db *db, const struct store_txn *t, struct err *err);

/* NULL when absent; valid until the next apply. */
const struct store_row *mem_db_row(const struct mem_db *db, struct str name);
/* Each fills results in the request's arena. */
int mem_db_list(const struct mem_db *db, const struct store_list *l, struct store_row **ret_rows,
                size_t *ret_nr, struct str *ret_token, struct err *err);
int mem_db_kv_get(const struct mem_db *db, const struct store_kv_get *g, struct str *ret,
                  struct err *err);
int mem_db_kv_scan(const struct mem_db *db, const struct store_kv_scan *s,
                   struct store_kv_pair **ret, size_t *ret_nr, struct err *err);
int mem_db_events(const struct mem_db *db, const struct store_events *e, struct store_event **ret,
                  size_t *ret_nr, struct err *err);
/* Calls l->row for every live row of its kind, oldest first. */
void mem_db_load(const struct mem_db *db, struct store_load *l);

#endif
