/* The published .proto files behind every served method, as compiled descriptors: what gRPC
 * reflection answers with. v1 and v1beta1 of aiplatform, Operations, Locations, IAMPolicy,
 * Projects, logging, health, reflection, and all they import.
 *
 * Read-only data inside the program, made by tools/pgen: nothing to open, load or free, no memory
 * used until asked. Every struct str returned points into it (lives for ever; never written to).
 * Files are numbers, 0 .. descset_file_count()-1; -1 means "no such thing". Names are without the
 * leading dot. Any thread. */
#ifndef CUSP_PB_DESCSET_H
#define CUSP_PB_DESCSET_H

#include "base/str.h"

/* No closure is longer (the build stops when there are more files). */
#define DESCSET_FILES_MAX 512

size_t descset_file_count(void);
struct str descset_file_name(int file); /* "google/cloud/aiplatform/v1/job_service.proto" */
/* A serialized google.protobuf.FileDescriptorProto. */
struct str descset_file_bytes(int file);

int descset_by_name(struct str file_name);
/* The file that defines a message, enum, service, method ("pkg.Service.Method") or extension; for
 * "pkg.Message.anything" the file of the message, where the asker will look for the field. */
int descset_by_symbol(struct str full_name);
/* The file that defines extension `number` of message `extendee`. */
int descset_by_extension(struct str extendee, uint32_t number);
/* Numbers of all known extensions of a message, ascending; returns how many there are, writes at
 * most max. 0 for an unknown message too: ask descset_by_symbol to tell. */
size_t descset_extension_numbers(struct str extendee, uint32_t *ret, size_t max);

/* The file and all it imports, transitively, each once; `file` first. Returns the count. */
size_t descset_closure(int file, uint16_t ret[DESCSET_FILES_MAX]);

/* Full names of the services, ordered: "google.cloud.aiplatform.v1.JobService"; .p NULL past the
 * end. */
size_t descset_service_count(void);
struct str descset_service(size_t i);

#endif
