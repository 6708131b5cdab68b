/* The writer's side of the SQLite store: one batch of transactions, one commit. Lane thread. */
#ifndef CUSP_STORE_SQLITE_WRITE_H
#define CUSP_STORE_SQLITE_WRITE_H

#include "store/sqlite_db.h"

/* Applies every transaction in the list (linked by store_txn.link) in order and commits once. A
 * transaction whose precondition fails is taken back alone: t->failed and t->err are set. When the
 * database fails instead, nothing of the batch is kept and all of them get that error. The
 * connection is usable afterwards in every case. */
void write_batch(struct db *db, struct list *txns);

#endif
