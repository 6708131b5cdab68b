"""Runs protoc and gives typed access to what it found, custom options included."""
import os
import subprocess
import sys

V1 = "google.cloud.aiplatform.v1"
BETA = "google.cloud.aiplatform.v1beta1"
# Packages that are another's twin: the same bytes under another name, served by its twin's messages
# and method ids.
TWINS = {BETA: V1, "grpc.reflection.v1alpha": "grpc.reflection.v1"}

SERVICES = ["job", "pipeline", "model", "dataset", "persistent_resource", "vizier", "endpoint",
            "prediction", "tensorboard", "metadata"]
# Services beside aiplatform.
EXTRA = ["google/cloud/resourcemanager/v3/projects.proto", "google/logging/v2/logging.proto",
         "grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto",
         "grpc/reflection/v1alpha/reflection.proto",
         "google/cloudresourcemanager/v1/projects.proto"]  # ours: tools/pgen/protos
SHARED = ["google/longrunning/operations.proto", "google/cloud/location/locations.proto",
          "google/iam/v1/iam_policy.proto", "google/rpc/error_details.proto",
          "google/rpc/status.proto", "google/rpc/code.proto", "google/protobuf/any.proto",
          "google/protobuf/duration.proto", "google/protobuf/empty.proto",
          "google/protobuf/field_mask.proto", "google/protobuf/struct.proto",
          "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"]
OPTION_FILES = ["google/api/annotations.proto", "google/api/http.proto", "google/api/client.proto",
                "google/api/field_behavior.proto", "google/api/resource.proto",
                "google/api/launch_stage.proto", "google/longrunning/operations.proto",
                "google/rpc/status.proto"]


class Api:
    """v1: FileDescriptorSet of all but v1beta1; beta: of v1beta1; merged: v1 with what only v1beta1 has
    (beta.py); version_flags: {(message, field): flag} for fields of one version; ext: the option
    extensions by short name."""


def protoc(dirs, args):
    cmd = ["protoc"] + [a for d in dirs for a in ("-I", d)] + args
    p = subprocess.run(cmd, stderr=subprocess.PIPE, text=True)
    if p.returncode:
        sys.exit("pgen: %s\n%s" % (" ".join(cmd), p.stderr))


def option_modules(dirs, tmp):
    """The Python classes of the option extensions, made from the same .proto files."""
    py = os.path.join(tmp, "py")
    os.makedirs(py, exist_ok=True)
    protoc(dirs, ["--python_out=" + py] + OPTION_FILES)
    import google
    google.__path__.append(os.path.join(py, "google"))
    from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
    from google.longrunning import operations_pb2
    return {
        "http": annotations_pb2.http,
        "behavior": field_behavior_pb2.field_behavior,
        "Behavior": field_behavior_pb2.FieldBehavior,
        "resource": resource_pb2.resource,
        "reference": resource_pb2.resource_reference,
        "lro": operations_pb2.operation_info,
    }


def v1_twin(name):
    """The name, or that of its twin ("a.v1beta1.X" -> "a.v1.X"); with or without leading dot."""
    for twin, main in TWINS.items():
        if name.lstrip(".").startswith(twin + "."):
            return name.replace(twin + ".", main + ".", 1)
    return name


def descriptor_set(dirs, tmp, version, more=()):
    from google.protobuf import descriptor_pb2
    base = "google/cloud/aiplatform/%s/" % version
    out = os.path.join(tmp, version + ".ds")
    protoc(dirs, ["--include_imports", "--descriptor_set_out=" + out] +
           [base + s + "_service.proto" for s in SERVICES] + SHARED + list(more))
    with open(out, "rb") as f:
        return descriptor_pb2.FileDescriptorSet.FromString(f.read())


# Not reachable from any method we serve; would be misread.
BETA_DIFFERS = {".EnterpriseWebSearch.blocking_confidence"}


def message_fields(ds, package):
    """{'.Message.Nested': {field name: (number, type, type name without version)}}"""
    out = {}

    def walk(prefix, messages):
        for m in messages:
            out[prefix + "." + m.name] = {
                f.name: (f.number, f.type, f.label, v1_twin(f.type_name))
                for f in m.field}
            walk(prefix + "." + m.name, m.nested_type)

    for f in ds.file:
        if f.package == package:
            walk("", f.message_type)
    return out


def check_twin(main_ds, main, twin_ds, twin):
    """Requests of a twin are read with the main messages. That holds only while fields of the same
    name are the same on the wire and no number means two things; a new release that breaks it stops
    the build."""
    v1, beta = message_fields(main_ds, main), message_fields(twin_ds, twin)
    for name in sorted(set(v1) & set(beta)):
        numbers = {f[0]: field for field, f in v1[name].items()}
        for field, f in beta[name].items():
            same = v1[name].get(field, f) == f and numbers.get(f[0], field) == field
            if not same and name + "." + field not in BETA_DIFFERS:
                sys.exit("pgen: %s%s.%s is not the field of %s" % (twin, name, field, main))


def check_twin_enums(api):
    """The same for enum values: a name has one number."""
    def values(ds, package):
        out = {}

        def walk(prefix, messages, enums):
            for e in enums:
                out[prefix + "." + e.name] = {v.name: v.number for v in e.value}
            for m in messages:
                walk(prefix + "." + m.name, m.nested_type, m.enum_type)
        for f in ds.file:
            if f.package == package:
                walk("", f.message_type, f.enum_type)
        return out
    v1, beta = values(api.v1, V1), values(api.beta, BETA)
    for name in sorted(set(v1) & set(beta)):
        for value, number in beta[name].items():
            if v1[name].get(value, number) != number:
                sys.exit("pgen: v1beta1 %s.%s is not the v1 number" % (name, value))


def load(dirs, out):
    tmp = os.path.join(out, "pgen-tmp")
    os.makedirs(tmp, exist_ok=True)
    api = Api()
    api.ext = option_modules(dirs, tmp)
    api.v1 = descriptor_set(dirs, tmp, "v1", EXTRA)
    api.beta = descriptor_set(dirs, tmp, "v1beta1", [])
    for twin, main in TWINS.items():
        check_twin(api.v1, main, api.beta if twin == BETA else api.v1, twin)
    check_twin_enums(api)
    return api


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def c_str(s):
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'
