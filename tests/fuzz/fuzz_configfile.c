/* Any bytes as a --config file: a JSON object or an error that says something; what parses is still
 * the same after being written as JSON (which is YAML) and read again. */
#include "cli/cli.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err err = {0};
    json_t *j = configfile_parse(str_n((const char *)data, size), &err);
    if (!j) {
        CHECK(err.code == ERR_INVALID_ARGUMENT && err.msg[0]);
        return 0;
    }
    CHECK(json_is_object(j));
    char *text = json_dumps(j, JSON_ENSURE_ASCII);
    json_t *again = text ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL) : NULL;
    CHECK(again && json_equal(j, again));
    free(text);
    json_decref(again);
    json_decref(j);
    return 0;
}
