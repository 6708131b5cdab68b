/* The tree behind struct filter: built by filter_parse.c, walked by filter.c and filter_sql.c. */
#ifndef CUSP_STORE_FILTER_INT_H
#define CUSP_STORE_FILTER_INT_H

#include "pb/pbpath.h"
#include "store/filter.h"

enum filter_type {
    FILTER_AND = 1, /* left, right */
    FILTER_OR,      /* left, right */
    FILTER_NOT,     /* left */
    FILTER_COMPARE, /* field op value */
    FILTER_HAS_KEY, /* labels:key, labels.key:* */
    FILTER_MESSAGE, /* a field of the message: path, pb_op, literal */
};

enum filter_field {
    FIELD_NAME = 1,
    FIELD_DISPLAY_NAME,
    FIELD_STATE,
    FIELD_CREATE_TIME,
    FIELD_UPDATE_TIME,
    FIELD_LABEL, /* with key */
};

enum filter_op { OP_EQ = 1, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_LIKE };

/* Stands in patterns for "anything": filters that hold it are refused. */
#define FILTER_ANY '\0'

struct filter {
    enum filter_type type;
    const struct filter *left, *right;
    enum filter_field field;
    enum filter_op op;
    struct str key;  /* FIELD_LABEL */
    struct str text; /* value of a text field; OP_LIKE: the pattern */
    usec_t time;     /* value of a time field */
    /* FILTER_MESSAGE: */
    const struct filter_schema *schema;
    const struct pb_path *path;
    enum pb_op pb_op;
    const struct pb_literal *literal;
    bool needs_message; /* this or something below it is a FILTER_MESSAGE */
};

static inline bool filter_field_is_time(enum filter_field f) {
    return f == FIELD_CREATE_TIME || f == FIELD_UPDATE_TIME;
}

#endif
