/* The bytes of our own objects for imports (data/items.h: item_contents): what the object's row
 * says of its checksum is asked for on the loop, by a thread that waits for the answer. */
#ifndef CUSP_API_IMPORT_CONTENTS_H
#define CUSP_API_IMPORT_CONTENTS_H

#include "blob/blob.h"
#include "data/items.h"

struct loop;

struct import_contents {
    struct item_contents contents; /* for items_write_contents */
    struct loop *loop;
    struct blob *blob;
};

/* Loop and blob must go on until the last call of the contents has returned. */
void import_contents_init(struct import_contents *c, struct loop *loop, struct blob *blob);

#endif
