/* The programs of warm starts, as bytes inside cuspd: what is put into containers is what this
 * server was built with. Empty where they are not built (other processors than x86-64). */
#ifndef CUSP_WARM_FILES_H
#define CUSP_WARM_FILES_H

#include <stddef.h>

struct warm_file {
    const unsigned char *p;
    size_t n;
};

extern const struct warm_file warm_thaw;   /* static program */
extern const struct warm_file warm_freeze; /* shared object */
extern const struct warm_file warm_site;   /* sitecustomize.py */

#endif
