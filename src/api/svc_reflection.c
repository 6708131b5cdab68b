/* grpc.reflection.v1 and v1alpha (one set of messages): the published descriptors, so that grpcurl
 * and its like can call everything without .proto files. One question, one answer, on a stream. */
#include "api/svc.h"

#include "pb/descset.h"
#include "pb/rpc.h"

#define ASKS(NAME) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##NAME
#define ANSWERS(NAME) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##NAME

struct reflection {
    uint64_t sent[DESCSET_FILES_MAX / 64]; /* files this stream has had */
};

static void answer_error(struct arena *a, Grpc__Reflection__V1__ServerReflectionResponse *resp,
                         enum err_code code, const char *message) {
    resp->error_response = arena_own(a, sizeof(*resp->error_response));
    grpc__reflection__v1__error_response__init(resp->error_response);
    resp->error_response->error_code = (int32_t)code;
    resp->error_response->error_message = (char *)message;
    resp->message_response_case = ANSWERS(ERROR_RESPONSE);
}

/* The file asked for, and what it imports that this stream has not had: clients need all of it and
 * most ask file by file otherwise. */
static void answer_file(struct reflection *r, struct arena *a,
                        Grpc__Reflection__V1__ServerReflectionResponse *resp, int file) {
    uint16_t all[DESCSET_FILES_MAX];
    if (file < 0) {
        answer_error(a, resp, ERR_NOT_FOUND, "No such file, symbol or extension is served here.");
        return;
    }
    Grpc__Reflection__V1__FileDescriptorResponse *f = arena_own(a, sizeof(*f));
    grpc__reflection__v1__file_descriptor_response__init(f);
    size_t n = descset_closure(file, all);
    f->file_descriptor_proto = arena_own_array(a, n, sizeof(*f->file_descriptor_proto));
    for (size_t i = 0; i < n; i++) {
        uint64_t bit = (uint64_t)1 << (all[i] % 64), *word = &r->sent[all[i] / 64];
        if (i == 0 || !(*word & bit)) {
            struct str bytes = descset_file_bytes(all[i]);
            f->file_descriptor_proto[f->n_file_descriptor_proto++] =
                (ProtobufCBinaryData){.len = bytes.n, .data = (uint8_t *)bytes.p};
            *word |= bit;
        }
    }
    resp->file_descriptor_response = f;
    resp->message_response_case = ANSWERS(FILE_DESCRIPTOR_RESPONSE);
}

static void answer_extensions(struct arena *a, Grpc__Reflection__V1__ServerReflectionResponse *resp,
                              const char *type) {
    size_t n = descset_extension_numbers(str_of(type), NULL, 0);
    if (descset_by_symbol(str_of(type)) < 0) {
        answer_error(a, resp, ERR_NOT_FOUND, "No such message type is served here.");
        return;
    }
    Grpc__Reflection__V1__ExtensionNumberResponse *e = arena_own(a, sizeof(*e));
    grpc__reflection__v1__extension_number_response__init(e);
    e->base_type_name = (char *)type;
    e->extension_number = arena_own_array(a, n + 1, sizeof(*e->extension_number));
    e->n_extension_number =
        descset_extension_numbers(str_of(type), (uint32_t *)e->extension_number, n);
    resp->all_extension_numbers_response = e;
    resp->message_response_case = ANSWERS(ALL_EXTENSION_NUMBERS_RESPONSE);
}

static void answer_services(struct arena *a, Grpc__Reflection__V1__ServerReflectionResponse *resp) {
    size_t n = descset_service_count();
    Grpc__Reflection__V1__ListServiceResponse *l = arena_own(a, sizeof(*l));
    grpc__reflection__v1__list_service_response__init(l);
    l->service = arena_own_array(a, n + 1, sizeof(*l->service));
    for (size_t i = 0; i < n; i++) {
        struct str name = descset_service(i);
        Grpc__Reflection__V1__ServiceResponse *s = arena_own(a, sizeof(*s));
        grpc__reflection__v1__service_response__init(s);
        s->name = arena_own(a, name.n + 1);
        memcpy(s->name, name.p, name.n);
        l->service[l->n_service++] = s;
    }
    resp->list_services_response = l;
    resp->message_response_case = ANSWERS(LIST_SERVICES_RESPONSE);
}

/* False when the client is slow. */
static bool answer(struct call *c, struct reflection *r,
                   const Grpc__Reflection__V1__ServerReflectionRequest *req) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX); /* our own descriptors bound it */
    Grpc__Reflection__V1__ServerReflectionResponse resp =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    resp.valid_host = req->host;
    resp.original_request = (Grpc__Reflection__V1__ServerReflectionRequest *)req;
    switch (req->message_request_case) {
    case ASKS(FILE_BY_FILENAME):
        answer_file(r, a, &resp, descset_by_name(str_of(req->file_by_filename)));
        break;
    case ASKS(FILE_CONTAINING_SYMBOL):
        answer_file(r, a, &resp, descset_by_symbol(str_of(req->file_containing_symbol)));
        break;
    case ASKS(FILE_CONTAINING_EXTENSION):
        answer_file(
            r, a, &resp,
            descset_by_extension(str_of(req->file_containing_extension->containing_type),
                                 (uint32_t)req->file_containing_extension->extension_number));
        break;
    case ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE):
        answer_extensions(a, &resp, req->all_extension_numbers_of_type);
        break;
    case ASKS(LIST_SERVICES):
        answer_services(a, &resp);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    case _GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE:
    default:
        answer_error(a, &resp, ERR_INVALID_ARGUMENT, "The request asks for nothing.");
        break;
    }
    return call_send(c, &resp.base);
}

static void on_message(struct call *c, void *arg, const ProtobufCMessage *msg) {
    if (!msg) {
        call_end(c);
    } else if (answer(c, arg, (const Grpc__Reflection__V1__ServerReflectionRequest *)msg)) {
        call_next(c);
    } /* else: the next question is read when this answer has left */
}

static void on_drained(struct call *c, void *arg) {
    call_next(c);
}

static void on_cancelled(struct call *c, void *arg) {
    call_end(c);
}

void svc_reflection_info(struct call *c) {
    static const struct call_listener listener = {
        .message = on_message, .drained = on_drained, .cancelled = on_cancelled};
    call_listen(c, &listener, arena_own(c->arena, sizeof(struct reflection)));
    call_next(c);
}
