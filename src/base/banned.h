/* Functions we do not call, turned into compile errors. Each has a safer piece in base:
 * strcpy/strcat/sprintf -> struct buf; atoi/strtol -> str_to_u64/str_to_i64; strtok -> str_cut;
 * gmtime/localtime -> time_format_rfc3339; setlocale -> never (numbers are C locale). */
#ifndef CUSP_BASE_BANNED_H
#define CUSP_BASE_BANNED_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BANNED(f) cusp_banned_function_##f
#undef strcpy
#define strcpy(a, b) BANNED(strcpy)
#undef strcat
#define strcat(a, b) BANNED(strcat)
#undef strncpy
#define strncpy(a, b, c) BANNED(strncpy)
#undef strncat
#define strncat(a, b, c) BANNED(strncat)
#undef sprintf
#define sprintf(...) BANNED(sprintf)
#undef vsprintf
#define vsprintf(a, b, c) BANNED(vsprintf)
#undef strtok
#define strtok(a, b) BANNED(strtok)
#undef gmtime
#define gmtime(a) BANNED(gmtime)
#undef localtime
#define localtime(a) BANNED(localtime)
#undef ctime
#define ctime(a) BANNED(ctime)
#undef asctime
#define asctime(a) BANNED(asctime)
#undef atoi
#define atoi(a) BANNED(atoi)
#undef atol
#define atol(a) BANNED(atol)
#undef setlocale
#define setlocale(a, b) BANNED(setlocale)

#endif
