/* Project ids and numbers. Answers use the number (reference 10 §2); any id is accepted, so the
 * number of an id is a pure function: twelve digits, never beginning with 0. */
#ifndef CUSP_BASE_PROJECT_H
#define CUSP_BASE_PROJECT_H

#include "base/str.h"

/* A text of digits is already a number and stays as it is. */
uint64_t project_number(struct str id_or_number);

#endif
