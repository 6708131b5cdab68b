/* The SQLite store in a directory of its own, for contract_store.h. */
#ifndef CUSP_TESTS_RIG_SQLITE_H
#define CUSP_TESTS_RIG_SQLITE_H

#include "contract_store.h"

extern const struct rig_kind rig_sqlite;
/* Opens DIR/cusp.db; fails the test when it cannot be. r->dir must be set. */
void rig_sqlite_start(struct rig *r);
/* Closes the store and the loop; files stay. */
void rig_sqlite_stop(struct rig *r);
/* Text of DIR/cusp.db's path, in a static buffer. */
const char *rig_sqlite_path(const struct rig *r);
void rig_sqlite_remove(const struct rig *r);

#endif
