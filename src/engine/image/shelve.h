/* Private to the image module: images that came as files, served like pushed ones. [lane] */
#ifndef CUSP_ENGINE_IMAGE_SHELVE_H
#define CUSP_ENGINE_IMAGE_SHELVE_H

#include "engine/image/image_int.h"

struct shelve {
    const char *name;
    struct str manifest, manifest_type; /* as they came; .p NULL: one is made */
    struct str config;
    /* Layers, lowest first: paths below dir_fd, or the one file fd (-1: none). */
    int dir_fd, fd;
    const char **paths;
    size_t nr_layers;
    bool is_ours; /* the files are the store's own and change no more: they need no copy */
};
/* The image under its name on the shelf, durably. A name that no registry would take, or a layer of
 * a compression that none would: nothing happens. An import is under way (store_import_begin). */
int shelve_image(struct image_store *s, const struct shelve *in, struct err *err);
/* The config of an image that has none of its own. */
void shelve_make_config(const struct image_record *r, struct buf *ret);

#endif
