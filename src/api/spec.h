/* Messages <-> what the control plane needs: the only place that knows both. */
#ifndef CUSP_API_SPEC_H
#define CUSP_API_SPEC_H

#include "base/arena.h"
#include "engine/job_spec.h"
#include "pb/aip.h"
#include "pb/violations.h"
#include "store/store.h"

#define DISPLAY_NAME_MAX 128u /* characters */

/* Rules of a CustomJob that field tables cannot say (reference 01 §4, 02, 10 §8, 12). Adds every
 * violation found; paths are relative to the resource in snake_case. */
void custom_job_check(const Aip__CustomJob *job, struct violations *vs);
/* The same for a CustomJobSpec under another path prefix ("trial_job_spec"). */
void job_spec_check(const Aip__CustomJobSpec *spec, const char *prefix, struct violations *vs);
/* Of a resource: required, and not too long. */
void display_name_check(const char *field, const char *name, struct violations *vs);
void labels_check(const char *field, size_t n, Aip__CustomJob__LabelsEntry *const *labels,
                  struct violations *vs);
/* NULL is fine: Google's keys, which is to say none here. */
void encryption_check(const char *field, const Aip__EncryptionSpec *e, struct violations *vs);
/* As a stored row has them; all kinds' entries look alike. Views of the message, in the arena. */
const struct store_label *labels_stored(struct arena *a, size_t n,
                                        Aip__CustomJob__LabelsEntry *const *labels);
/* at.env: names, their number, and that none is given twice. */
void env_check(const char *at, size_t n, Aip__EnvVar *const *env, struct violations *vs);
/* What the service fills in (reference 01 §3, 03 §1). */
/* spec_presence.c: pools whose replicaCount the JSON body leaves out get one replica. */
void custom_job_default_replicas(Aip__CustomJob *job, struct str body);
void tuning_job_default_replicas(Aip__HyperparameterTuningJob *job, struct str body);
/* Disk type and size, as the service fills them. */
void custom_job_fill_defaults(struct arena *a, Aip__CustomJob *job);
void job_spec_fill_defaults(struct arena *a, Aip__CustomJobSpec *spec);

#endif
