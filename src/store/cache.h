/* Committed rows in memory, least recently used first out, bounded in bytes. Loop thread only. */
#ifndef CUSP_STORE_CACHE_H
#define CUSP_STORE_CACHE_H

#include "store/store.h"

struct cache;

struct cache *cache_new(size_t max_bytes);
void cache_free(struct cache *c);
/* NULL when it is not here. Valid until the next put, update or del. */
const struct store_row *cache_get(struct cache *c, struct str name);
/* Copies; replaces an older version. A row of more than an eighth of the budget is not kept. */
void cache_put(struct cache *c, const struct store_row *row);
/* Applies store_txn_update's change, when the row is here. */
void cache_update(struct cache *c, const struct store_row *change);
/* Applies store_txn_replace's change, when the row is here. */
void cache_replace(struct cache *c, const struct store_row *change);
void cache_del(struct cache *c, struct str name);
size_t cache_count(const struct cache *c);

#endif
