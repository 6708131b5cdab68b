"""Runs protoc and gives typed access to what it found, custom options included."""
import os
import subprocess
import sys

V1 = "google.cloud.aiplatform.v1"
BETA = "google.cloud.aiplatform.v1beta1"

SERVICES = ["job", "pipeline", "model", "dataset", "persistent_resource", "vizier", "endpoint",
            "prediction", "tensorboard", "metadata"]
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
    """v1, beta: FileDescriptorSet; ext: the option extensions by short name."""


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


def descriptor_set(dirs, tmp, version):
    from google.protobuf import descriptor_pb2
    base = "google/cloud/aiplatform/%s/" % version
    out = os.path.join(tmp, version + ".ds")
    protoc(dirs, ["--include_imports", "--descriptor_set_out=" + out] +
           [base + s + "_service.proto" for s in SERVICES] + SHARED)
    with open(out, "rb") as f:
        return descriptor_pb2.FileDescriptorSet.FromString(f.read())


def load(dirs, out):
    tmp = os.path.join(out, "pgen-tmp")
    os.makedirs(tmp, exist_ok=True)
    api = Api()
    api.ext = option_modules(dirs, tmp)
    api.v1 = descriptor_set(dirs, tmp, "v1")
    api.beta = descriptor_set(dirs, tmp, "v1beta1")
    return api


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def c_str(s):
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'
