#include "engine/local/packages.h"
#include "engine/local/local_int.h"
int packages_key(struct local_attempt *a, uint32_t pool, bool *ret_ready, struct err *err) {
    return err_set(err, ERR_UNIMPLEMENTED, "python packages");
}
void packages_install(struct local_attempt *a, uint32_t pool) {}
void packages_forget(struct local_attempt *a) {}
void packages_close(struct local *eng) {}
