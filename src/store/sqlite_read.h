/* Queries of the SQLite store. Each runs in one read transaction on the connection given, so its
 * rows, labels and events belong together. Results are copied into the request's arena. */
#ifndef CUSP_STORE_SQLITE_READ_H
#define CUSP_STORE_SQLITE_READ_H

#include "store/sqlite_db.h"
#include "store/token.h"

/* NOT_FOUND when absent. */
int read_row(struct db *db, struct str name, struct arena *a, struct store_row **ret,
             struct err *err) MUST_CHECK;
int read_list(struct db *db, const uint8_t token_key[TOKEN_KEY_BYTES], const struct store_list *l,
              struct store_row **ret, size_t *ret_nr, struct str *ret_token,
              struct err *err) MUST_CHECK;
/* ret->p NULL when absent. */
int read_kv(struct db *db, const struct store_kv_get *g, struct str *ret,
            struct err *err) MUST_CHECK;
int read_kv_scan(struct db *db, const struct store_kv_scan *s, struct store_kv_pair **ret,
                 size_t *ret_nr, struct err *err) MUST_CHECK;
int read_events(struct db *db, const struct store_events *e, struct store_event **ret,
                size_t *ret_nr, struct err *err) MUST_CHECK;
/* Calls l->row for each live row; not l->end. */
int read_live(struct db *db, struct store_load *l, struct err *err) MUST_CHECK;
int read_token_key(struct db *db, uint8_t ret[TOKEN_KEY_BYTES], struct err *err) MUST_CHECK;

#endif
