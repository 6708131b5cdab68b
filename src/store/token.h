/* Page tokens: signed positions in a list. Opaque to clients; docs/internals/store.md has the
 * layout. */
#ifndef CUSP_STORE_TOKEN_H
#define CUSP_STORE_TOKEN_H

#include "store/row.h"

#define TOKEN_KEY_BYTES 32

/* Bytes a token can have at most; longer ones are refused unread. */
#define TOKEN_MAX_BYTES 8192

/* Token for "continue after pos" in the list that `l` describes. Text in l->arena. */
struct str token_make(const uint8_t key[TOKEN_KEY_BYTES], const struct store_list *l,
                      const struct store_pos *pos);
/* Checks l->page_token (not empty) and decodes it; text views live in l->arena. INVALID_ARGUMENT
 * with field page_token when it is malformed, tampered with, or belongs to another list. */
int token_open(const uint8_t key[TOKEN_KEY_BYTES], const struct store_list *l,
               struct store_pos *ret, struct err *err) MUST_CHECK;

#endif
