/* Private to the images*.c files. */
#ifndef CUSP_API_IMAGES_INT_H
#define CUSP_API_IMAGES_INT_H

#include "api/call.h"
#include "api/images.h"
#include "engine/image/image.h"

struct api_images {
    struct lane *disk;
    struct image_store *store;
    char *spool_dir;
    const char **(*in_use)(void *arg, struct arena *a);
    void (*removed)(void *arg);
    void *arg;
    unsigned importing;
    struct puller *puller; /* NULL: nothing goes to or comes from other registries */
};

/* An image as the answers show it. */
void images_put(struct jw *w, const struct image *img);
/* POST images:pull and images:push (images_transfer.c). */
void images_transfer(struct api_images *im, struct xch *x, bool is_push);

#endif
