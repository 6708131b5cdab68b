/* Faults on demand, as the public storage test bench makes them (its "retry test" resources), so
 * that the conformance data of the official clients can run: --test-retry-api. A client creates a
 * test at /retry_test and sends its id in x-retry-test-id; each matching call takes the next
 * instruction. Tests live in memory. Loop thread only. */
#ifndef CUSP_API_GCS_RETRY_H
#define CUSP_API_GCS_RETRY_H

#include "base/buf.h"
#include "base/err.h"
#include "net/xch.h"

struct loop;
struct gcs_retry;

/* What is to go wrong in a call; all zeroes: nothing. */
struct gcs_fault {
    struct gcs_retry *from; /* whose list it was taken from; NULL: no fault */
    struct str test, method;
    unsigned status;    /* answered by an upload when `after` bytes of the object are stored */
    bool cuts_download; /* the connection breaks when `after` bytes are on their way */
    uint64_t after;
};

struct gcs_retry *gcs_retry_new(struct loop *l);
void gcs_retry_free(struct gcs_retry *r); /* NULL is fine */
/* /retry_test and /retry_tests; false when the path is another. */
bool gcs_retry_handle(struct gcs_retry *r, struct xch *x);
/* Before a storage call is carried out. True: it was answered (or broken off) here. Otherwise
 * *ret says what is to happen later on; gcs_fault_happens takes it off the list then. */
bool gcs_retry_intercept(struct gcs_retry *r, struct xch *x, struct str method, struct str path,
                         bool is_xml, struct gcs_fault *ret);
void gcs_fault_happens(struct gcs_fault *f);
/* Answers as a call that an instruction makes fail. */
void gcs_fault_reply(struct xch *x, unsigned status);
/* Breaks the connection off once what was written before has gone to the socket. */
void gcs_fault_cut(struct gcs_retry *r, struct xch *x);

/* ---- pure, for tests ---- */
/* "storage.objects.get" for a request; empty when it has no name. path: raw. */
struct str gcs_method_name(struct arena *a, struct str method, struct str path, bool is_xml);
struct gcs_instruction {
    unsigned status; /* 0: the connection */
    bool resets, cuts_download;
    uint64_t after; /* bytes; UINT64_MAX: at once */
};
/* INVALID_ARGUMENT for what is not supported here. */
int gcs_instruction_parse(struct str text, struct gcs_instruction *ret, struct err *err);

#endif
