/* Inside the query language: the tree. */
#ifndef CUSP_LOGS_QUERY_INT_H
#define CUSP_LOGS_QUERY_INT_H

#include "logs/pattern.h"
#include "logs/query.h"

enum query_op { OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE, OP_HAS, OP_MATCH, OP_NO_MATCH, OP_TEXT };
enum query_kind { Q_AND, Q_OR, Q_NOT, Q_TEST };

#define QUERY_PATH_MAX 16

struct query_node {
    enum query_kind kind;
    struct query_node *l, *r; /* NOT: l */
    /* Q_TEST: */
    enum query_op op;
    struct str path[QUERY_PATH_MAX];
    unsigned nr_path;
    struct str value;
    bool is_quoted;
    bool is_number;
    double number;
    int severity; /* -1: no severity's name */
    bool is_time;
    int64_t sec; /* of a time */
    int32_t nanos;
    struct pattern *pattern; /* OP_MATCH, OP_NO_MATCH */
    struct query_node *next; /* all tests, for query_close */
};

struct query {
    struct query_node *root; /* NULL: everything */
    struct query_node *tests;
};

#endif
