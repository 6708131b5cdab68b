/* What a SuggestTrials request is given: its contexts read, its trials chosen, its response made.
 * And the errand that goes on with it when the answer took too long for the call, in this life of
 * the server or the next: its trials and its end are one transaction, so they come exactly once.
 * Loop thread. */
#ifndef CUSP_API_VIZIER_SUGGEST_H
#define CUSP_API_VIZIER_SUGGEST_H

#include "api/errand.h"
#include "api/vizier_message.h"
#include "ctl/study_ask.h"

struct suggesting {
    const Aip__SuggestTrialsRequest *req; /* checked */
    struct arena *a;                      /* as old as we are */
    usec_t start_time;                    /* wall: when it was asked */
    struct study_ask ask;
    struct study_given *given;
    bool has_contexts;    /* they were read */
    struct violations vs; /* of the contexts */
};
void suggesting_init(struct suggesting *x, struct arena *a, const Aip__SuggestTrialsRequest *req,
                     usec_t start_time);
/* From within a decision of ctl/studies.h. STUDY_SAVE: the batch has the trials, *ret is the
 * response, in the batch's arena. */
enum study_verdict suggesting_decide(struct suggesting *x, const struct study_view *v,
                                     struct study_batch *b, const ProtobufCMessage **ret,
                                     struct err *err);
const ProtobufCMessage *suggesting_metadata(struct arena *a, const char *client_id);

/* The facts of a suggest_errand, for errand_begin. study: its canonical name. */
struct str suggest_errand_facts(struct arena *a, struct str study, usec_t start_time);

#endif
