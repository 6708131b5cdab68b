/* gs:// URIs and what a server tells about objects. */
#ifndef CUSP_CLI_GSURI_H
#define CUSP_CLI_GSURI_H

#include "cli/cli.h"

struct uri {
    char *bucket, *name; /* percent-encoded; name "" for a bucket */
    char *raw_name;
};
int uri_parse(const char *text, struct uri *ret, struct err *err);
void uri_fini(struct uri *u);
#define auto_uri __attribute__((cleanup(uri_fini)))

bool uri_is_gs(const char *s);
const char *path_base(const char *path); /* after the last slash */
/* Where a file called name goes: below dst when that is a folder (ends in /) or a bucket. Owned. */
char *uri_target(const char *dst, const char *name);

struct object_facts {
    uint64_t size, generation;
    bool has_crc;
    uint32_t crc; /* CRC-32C */
    usec_t updated;
};
/* Of the JSON resource of an object. */
void object_facts_of(const json_t *obj, struct object_facts *ret);
int object_look(const struct cli *c, const struct uri *u, struct object_facts *ret,
                struct err *err);

/* Calls fn for every object whose name begins with u's; prefixes (when not recursive) come with obj
 * NULL. What fn returns other than 0 ends it and is returned. */
int objects_each(const struct cli *c, const struct uri *u, bool recursive,
                 int (*fn)(void *arg, const char *name, json_t *obj, struct err *err), void *arg,
                 struct err *err);
/* name itself, or something in the folder called `folder`. "" holds everything. */
bool name_is_below(const char *name, const char *folder);
/* Nothing the server says makes us write outside the folder given. */
bool name_is_inside(const char *relative);

#endif
