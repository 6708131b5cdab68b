/* --format=value(FIELD,…) of entries, in gcloud's manner, and entries as lines for people. */
#ifndef CUSP_CLI_LOGFORMAT_H
#define CUSP_CLI_LOGFORMAT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/vec.h"

#include <jansson.h>

/* Fields of a projection: each a path of keys. */
struct log_fields {
    VEC_OF(struct log_field {
        char **keys;
        size_t nr_keys;
    })
    fields;
};
/* "value(textPayload,labels.'ml.googleapis.com/job_id')": keys with dots are quoted, " or '.
 * INVALID_ARGUMENT. */
int log_fields_parse(struct log_fields *f, struct str text, struct err *err) MUST_CHECK;
void log_fields_fini(struct log_fields *f);
/* Their values, a tab between, without a newline at the end. What is not there is empty; objects
 * and lists as JSON; tabs and newlines within stay as they are, as in gcloud. */
void log_fields_put(const struct log_fields *f, json_t *entry, struct buf *b);

/* The words of an entry: text, "message" of an object, else the object as JSON. */
void log_message_put(json_t *entry, struct buf *b);
const char *log_severity_of(json_t *entry); /* "DEFAULT" when it has none */
const char *log_task_of(json_t *entry);     /* task, or the log's last name */

#endif
