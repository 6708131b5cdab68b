/* Files that are large enough to go past the page cache: who writes them (blob/direct.c) and who
 * reads what was written so (net/cold.c) must mean the same ones. */
#ifndef CUSP_SYS_DIRECT_H
#define CUSP_SYS_DIRECT_H

#define DIRECT_FROM (32u << 20) /* bytes; what is smaller is likely to be read soon */

#endif
