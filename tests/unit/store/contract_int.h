/* What the groups of contract_store.c share: a fresh store for each test. */
#ifndef CUSP_TESTS_CONTRACT_INT_H
#define CUSP_TESTS_CONTRACT_INT_H

#include "contract_store.h"

struct fix {
    struct rig rig;
    struct arena *a;
};

int fix_setup(void **state);
int fix_teardown(void **state);
#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

/* Commits a row of rig_row. */
struct store_row insert_row(struct fix *f, uint64_t id, usec_t at);
void put_event(struct store_txn *t, struct str owner, uint64_t seq, const char *body);
void assert_str(struct str a, struct str b);
void assert_row(const struct store_row *a, const struct store_row *b);

/* Number of tests that failed. */
int contract_rows(const struct rig_kind *k);
int contract_order(const struct rig_kind *k);
int contract_lists(const struct rig_kind *k);

#endif
