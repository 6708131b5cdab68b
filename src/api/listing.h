/* One page of stored resources as the answer of a List method: page size, filter, order and read
 * mask checked, each row made a message, the response filled by its descriptor. Loop thread; a
 * listing lives in its call's arena. */
#ifndef CUSP_API_LISTING_H
#define CUSP_API_LISTING_H

#include "api/call.h"
#include "pb/aip.h"
#include "pb/pbmask.h"
#include "store/filter.h"

#define LISTING_PAGE_SIZE_DEFAULT 100

struct listing;

/* What is the same for all lists of one kind. */
struct listing_kind {
    const char *word;                           /* "CustomJob", for the log */
    const ProtobufCMessageDescriptor *resource; /* what the read mask selects from */
    const ProtobufCMessageDescriptor *response; /* its repeated message field takes the page, its
                                                   next_page_token the token */
    const struct filter_schema *schema;         /* NULL: as listing.schema says */
    /* The row as a message in the call's arena. One that does not read is logged and left out. */
    int (*message)(struct listing *, const struct store_row *row, ProtobufCMessage **ret,
                   struct err *err);
};

struct listing {
    /* caller: */
    struct call *call;
    const struct listing_kind *kind;
    const struct filter_schema *schema; /* where it depends on the request; else NULL */
    void *arg;                          /* for kind->message */
    struct store_list list;             /* kind and parent; the rest is filled here */
    /* ours: */
    const struct pb_mask *mask;
};

/* What a request says about its list. */
struct listing_asked {
    const char *filter, *page_token;
    int32_t page_size;
    const Google__Protobuf__FieldMask *read_mask;
    struct str order_by; /* blank: newest first */
};
/* req: a decoded request with the documented four members. */
#define LISTING_ASKED(req)                                                                         \
    .filter = (req)->filter, .page_token = (req)->page_token, .page_size = (req)->page_size,       \
    .read_mask = (req)->read_mask

/* Fills li->list. INVALID_ARGUMENT on page_size, read_mask, filter or order_by. */
int listing_read(struct listing *li, const struct listing_asked *q, struct err *err) MUST_CHECK;
/* Asks the store; answers the call. After listing_read. */
void listing_start(struct listing *li);
/* Both; mistakes are answered. */
void listing_run(struct listing *li, const struct listing_asked *q);
/* The stored ones of a kind in a request's parent: all of it. Answers the call. */
void listing_below(struct call *c, const char *parent, struct str kind,
                   const struct listing_kind *k, const struct listing_asked *q);

/* A page size as asked -> what is used: `otherwise` for 0, at most `most`. INVALID_ARGUMENT on
 * page_size when it is negative. */
int listing_page_size(int32_t asked, unsigned otherwise, unsigned most, unsigned *ret,
                      struct err *err) MUST_CHECK;

#endif
