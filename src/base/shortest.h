/* The shortest decimal that reads back as the same double, and of those the nearest to it. Any
 * thread. */
#ifndef CUSP_BASE_SHORTEST_H
#define CUSP_BASE_SHORTEST_H

#include <stddef.h>

#define SHORTEST_MAX 17u /* digits */

/* v is finite and above 0: *ret_digits of them, the first and the last not '0', and where the point
 * is: v = 0.d1d2d3.. * 10^point. */
size_t shortest_digits(double v, char digits[static SHORTEST_MAX], int *ret_point);

#define SHORTEST_TEXT_MAX 26u
/* Of any finite v as printf's %.15g has it, or %.16g, %.17g where fewer digits do not read back;
 * whole numbers below 10^15 in full ("-0" too). Not terminated: returns how long it is. */
size_t shortest_text(double v, char text[static SHORTEST_TEXT_MAX]);

/* Any v in a sentence: the same, or NaN, Infinity, -Infinity. Terminated. */
struct number_text {
    char text[SHORTEST_TEXT_MAX + 1];
};
struct number_text number_text(double v);

#endif
