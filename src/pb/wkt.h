/* google.protobuf types as text and as the values the rest of the server uses. Any thread. */
#ifndef CUSP_PB_WKT_H
#define CUSP_PB_WKT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/time.h"
#include "pb/aip.h"

/* RFC 3339, years 0001-9999, up to 9 fraction digits, any offset. False when malformed. */
bool wkt_timestamp_parse(struct str s, int64_t *ret_sec, int32_t *ret_nanos);
/* UTC with Z and 0, 3, 6 or 9 digits; false (nothing written) when out of range. */
/* Always nine digits of fraction: texts compare as times do. */
bool wkt_timestamp_format_nano(struct buf *b, int64_t sec, int32_t nanos);
bool wkt_timestamp_format(struct buf *b, int64_t sec, int32_t nanos);
/* "1.5s", also negative; within +-315,576,000,000 s. */
bool wkt_duration_parse(struct str s, int64_t *ret_sec, int32_t *ret_nanos);
bool wkt_duration_format(struct buf *b, int64_t sec, int32_t nanos);
/* "displayName" <-> "display_name" for one path of a field mask. */
void wkt_path_to_snake(struct buf *b, struct str path);
void wkt_path_to_camel(struct buf *b, struct str path);

/* In the arena, whose maximum is not looked at (arena_own). */
Google__Protobuf__Timestamp *wkt_timestamp(struct arena *a, usec_t t);
Google__Protobuf__Timestamp *wkt_timestamp_if_set(struct arena *a, usec_t t); /* NULL for 0 */
Google__Protobuf__Duration *wkt_duration(struct arena *a, usec_t d);
/* Past or beyond what usec_t holds gives 0 or USEC_NEVER; NULL gives 0. */
usec_t wkt_timestamp_usec(const Google__Protobuf__Timestamp *t);
usec_t wkt_duration_usec(const Google__Protobuf__Duration *d);
/* Packs m behind type.googleapis.com/NAME. NULL when the arena is full. */
Google__Protobuf__Any *wkt_any(struct arena *a, const ProtobufCMessage *m);

#endif
