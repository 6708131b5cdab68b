/* The JSON reader's state, shared by pbjson_in.c (the ways in), pbjson_read.c (nesting, errors),
 * pbjson_fields.c (messages, arrays, maps), pbjson_scalar.c and pbwkt.c (google.protobuf types with
 * a form of their own).
 *
 * Readers are called with the first token of a value current and leave its last token current. They
 * return RD_OK, RD_BAD (a violation was recorded, the value was consumed, reading goes on) or
 * RD_FATAL (r->err is set, nothing more can be read). */
#ifndef CUSP_PB_PBJSON_INT_H
#define CUSP_PB_PBJSON_INT_H

#include "pb/jtok.h"
#include "pb/pb_int.h"

enum rd { RD_FATAL = -1, RD_OK = 0, RD_BAD = 1 };

/* A chain on the C stack from the value being read up to the root. */
struct path {
    const struct path *up;
    struct str name; /* .p NULL: an index */
    size_t index;
};

struct reader {
    struct jtok t;
    struct arena *a;
    struct violations *vs;
    struct err *err;
    const char *root;
    enum pb_version version;
    unsigned hidden; /* flags of fields this version does not have */
    unsigned json_depth, json_max, msg_depth, msg_max, any_depth;
    bool is_text; /* the current token stands for a query parameter: any scalar may be a string */
};

static inline unsigned pb_hidden(enum pb_version version) {
    return version == PB_V1BETA1 ? PB_F_V1_ONLY : PB_F_BETA_ONLY;
}

enum rd rd_next(struct reader *r);
enum rd rd_syntax(struct reader *r, const char *what); /* RD_FATAL at the current place */
enum rd rd_check_value(struct reader *r);              /* does the current token begin one? */
enum rd rd_no_memory(struct reader *r);
/* Bracket and message nesting; leave after a successful enter. */
enum rd rd_enter_json(struct reader *r);
enum rd rd_enter_msg(struct reader *r);
enum rd rd_skip(struct reader *r); /* any value, checking its grammar */

/* Iterates an object or array whose opening token is current. *more says whether there is an item;
 * for objects its key is in *key and its value's first token is current. */
enum rd rd_object_begin(struct reader *r, struct str *key, bool *more);
enum rd rd_object_next(struct reader *r, struct str *key, bool *more);
enum rd rd_array_begin(struct reader *r, bool *more);
enum rd rd_array_next(struct reader *r, bool *more);

/* Records "Invalid value at 'PATH' (TYPE), WHAT" (what NULL: the current token as written) and
 * skips the value. */
enum rd rd_invalid(struct reader *r, const struct path *path, const char *type, const char *what);
enum rd rd_invalid_message(struct reader *r, const struct path *path,
                           const ProtobufCMessageDescriptor *d, const char *what);
enum rd rd_invalid_enum(struct reader *r, const struct path *path,
                        const ProtobufCEnumDescriptor *e);
/* Records "Invalid JSON payload received. Unknown name ..." and skips the value. */
enum rd rd_unknown_name(struct reader *r, const struct path *path, struct str name,
                        const char *what);

/* Index of a field this version has, or -1. */
int rd_find_field(const struct reader *r, const ProtobufCMessageDescriptor *d, struct str name);
/* One value of f's type into dst (pb_value_size bytes). */
enum rd rd_value(struct reader *r, const ProtobufCFieldDescriptor *f, const struct path *path,
                 void *dst);
/* pbjson_scalar.c: f is no message. */
enum rd rd_scalar(struct reader *r, const ProtobufCFieldDescriptor *f, const struct path *path,
                  void *dst);
enum rd rd_array_field(struct reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                       const struct path *path);
enum rd rd_map_field(struct reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                     const struct path *path);
/* A message by whatever form its kind has; the message must be initialised. */
enum rd rd_message(struct reader *r, ProtobufCMessage *m, const struct path *path);
/* The keys of a plain message; skip_type: "@type" is not a field but has been dealt with. */
enum rd rd_message_fields(struct reader *r, ProtobufCMessage *m, const struct path *path,
                          bool skip_type);
/* pbwkt.c: m's kind is PB_KIND_ANY or later. */
enum rd rd_well_known(struct reader *r, ProtobufCMessage *m, const struct path *path);
bool rd_parse_double(struct str s, double *ret);
char *rd_string(struct reader *r, struct str s); /* terminated copy; NULL when the arena is full */

/* Writer side, pbwkt.c: the JSON form of a message whose kind is PB_KIND_ANY or later. */
struct writer {
    struct jw *w;
    const struct pb_json_opts *o;
    struct err *err;
    unsigned hidden; /* flags of fields this version does not have */
    unsigned any_depth;
};
int wr_message(struct writer *w, const ProtobufCMessage *m, const struct pb_mask *mask);
int wr_fields(struct writer *w, const ProtobufCMessage *m, const struct pb_mask *mask);
int wr_field_value(struct writer *w, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                   const struct pb_mask *mask);
int wr_well_known(struct writer *w, const ProtobufCMessage *m, const struct pb_mask *mask);
bool wr_can_open(struct writer *w); /* room for more nesting; else w->err is set */

#endif
