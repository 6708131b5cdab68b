/* Outcomes: how an ending (role x kind of exit) and the retry policy of the job decide what becomes
 * of the attempt, and the sentences users read about it (reference 01 §7). Pure functions. */
#ifndef CUSP_CTL_OUTCOME_H
#define CUSP_CTL_OUTCOME_H

#include "base/buf.h"
#include "engine/engine.h"

/* What an ending asks for. Stored in RETRY events: append only. */
enum policy {
    POLICY_NONE = 0, /* the attempt goes on */
    POLICY_SUCCEED,
    POLICY_FAIL,
    POLICY_RETRY_CRASH, /* SIGABRT, SIGSEGV: up to RETRY_MAX_CRASH */
    POLICY_RETRY_LOST,  /* the replica's supervisor vanished: up to RETRY_MAX_LOST */
    POLICY_RETRY_FAULT, /* staging or launching met a passing fault: up to RETRY_MAX_FAULT */
    POLICY_RETRY_FREE,  /* a restart interrupted the launch: nothing ran, so nothing is counted */
    POLICY_CANCEL,      /* the user's wish */
    POLICY_NR
};

#define RETRY_MAX_CRASH 3u
#define RETRY_MAX_LOST 5u
#define RETRY_MAX_FAULT 2u

enum verdict {
    VERDICT_NONE = 0,
    VERDICT_SUCCEEDED,
    VERDICT_FAILED,
    VERDICT_CANCELLED,
    VERDICT_RETRY
};

struct ending {
    bool is_primary;
    bool is_lost;       /* no exit is known: x is NULL */
    bool never_started; /* lost, and there was never anything to lose */
    const struct exit_info *x;
};

enum policy outcome_of_ending(const struct ending *e);
/* Of stage or launch failing as a whole. */
enum policy outcome_of_failure(int code);
/* used[policy]: retries taken so far from each budget. */
enum verdict outcome_verdict(enum policy p, const uint32_t used[POLICY_NR], bool disable_retries);
/* Pause before the next attempt; random in [0, 1) spreads it. */
usec_t outcome_backoff(enum policy p, uint32_t used, double random);

/* google.rpc code of a job that failed by this ending. */
int outcome_code(const struct ending *e);
/* The sentence about one replica, with its newline; why may be NULL. Not the log tail, not the
 * pointer. */
void outcome_sentence(struct buf *b, const char *replica, const struct ending *e, const char *why);
/* Last lines of stderr, then a blank line and where to look further. */
void outcome_tail(struct buf *b, const char *stderr_tail);
void outcome_pointer(struct buf *b, const char *console_url, uint64_t project_number,
                     const char *job_id);

#endif
