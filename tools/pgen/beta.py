"""One set of messages for both versions: v1, and in it what only v1beta1 has.

check_twin() has proved that the two agree on the wire wherever both have a field. So a field that only
one of them has can stand in the same struct, marked with its version: JSON of the other version neither
reads nor shows it, stored bytes and handlers never notice. That is done for the messages that the
training services of v1beta1 reach; elsewhere v1beta1 has the fields of v1."""
import sys

from google.protobuf import descriptor_pb2

import load

TRAINING = ["job", "pipeline", "model", "dataset", "persistent_resource", "vizier"]
FIELD = descriptor_pb2.FieldDescriptorProto


class Index:
    """Messages and enums of one package by full name, and the file each is in."""

    def __init__(self, ds, package):
        self.messages, self.enums, self.file = {}, set(), {}
        for f in ds.file:
            if f.package == package:
                self.walk(f, package, f.message_type, f.enum_type)

    def walk(self, f, prefix, messages, enums):
        for e in enums:
            self.enums.add(prefix + "." + e.name)
            self.file[prefix + "." + e.name] = f
        for m in messages:
            full = prefix + "." + m.name
            self.messages[full], self.file[full] = m, f
            self.walk(f, full, m.nested_type, m.enum_type)


def reachable(api, beta):
    """Full names of the messages behind the methods that both versions have."""
    files = {"google/cloud/aiplatform/v1beta1/%s_service.proto" % s for s in TRAINING}
    served = {(s.name, m.name) for f in api.v1.file for s in f.service for m in s.method}
    todo = []
    for f in api.beta.file:
        for s in f.service if f.name in files else []:
            for m in s.method:
                if (s.name, m.name) not in served:
                    continue
                lro = m.options.Extensions[api.ext["lro"]]
                todo += [m.input_type[1:], m.output_type[1:]]
                todo += [load.BETA + "." + t for t in (lro.response_type, lro.metadata_type)]
    seen = set()
    while todo:
        full = todo.pop()
        if full in seen or full not in beta.messages:
            continue
        seen.add(full)
        todo += [f.type_name[1:] for f in beta.messages[full].field if f.type == FIELD.TYPE_MESSAGE]
    return sorted(seen)


def rename_types(m):
    for f in m.field:
        if f.type_name:
            f.type_name = load.v1_twin(f.type_name)
    for n in m.nested_type:
        rename_types(n)


def add_field(into, source, field):
    new = FIELD()
    new.CopyFrom(field)
    at = len(into.field)
    if field.type_name:
        new.type_name = load.v1_twin(field.type_name)
    if field.HasField("oneof_index"):
        name = source.oneof_decl[field.oneof_index].name
        names = [o.name for o in into.oneof_decl]
        if name not in names:
            into.oneof_decl.add().name = name
            names.append(name)
        new.oneof_index = names.index(name)
        for i, f in enumerate(into.field):  # members of a oneof stand together
            if f.HasField("oneof_index") and f.oneof_index == new.oneof_index:
                at = i + 1
    fields = list(into.field)
    fields.insert(at, new)
    del into.field[:]
    into.field.extend(fields)


def ordered(files):
    """Imports before importers."""
    by_name, done, out = {f.name: f for f in files}, {}, []

    def visit(f):
        if done.get(f.name) == "open":
            sys.exit("pgen: merging v1beta1 makes a cycle of imports at " + f.name)
        if f.name in done:
            return
        done[f.name] = "open"
        for d in f.dependency:
            visit(by_name[d])
        done[f.name] = "closed"
        out.append(f)

    for f in files:
        visit(f)
    return out


def merge(api):
    """Returns (FileDescriptorSet, {(message, field): flag})."""
    merged = descriptor_pb2.FileDescriptorSet()
    merged.CopyFrom(api.v1)
    files = {f.name: f for f in merged.file}
    v1, beta = Index(merged, load.V1), Index(api.beta, load.BETA)
    flags, touched = {}, {}

    def twin_file(full):
        name = beta.file[full].name.replace("/v1beta1/", "/v1/")
        if name not in files:
            files[name] = merged.file.add(name=name, package=load.V1, syntax="proto3")
        return files[name]

    def add_message(full):
        """The whole message, nested ones too, beside or inside what v1 has."""
        name, source = load.v1_twin(full), beta.messages[full]
        parent = full.rpartition(".")[0]
        if parent in beta.messages and load.v1_twin(parent) not in v1.messages:
            return  # comes with its parent
        home = v1.messages[load.v1_twin(parent)].nested_type if parent in beta.messages else None
        f = twin_file(full) if home is None else v1.file[load.v1_twin(parent)]
        new = (f.message_type if home is None else home).add()
        new.CopyFrom(source)
        rename_types(new)
        v1.walk(f, name.rpartition(".")[0], [new], [])
        touched[f.name] = f

    both = []
    for full in reachable(api, beta):
        if load.v1_twin(full) in v1.messages:
            both.append(full)
        else:
            add_message(full)
    for full in both:
        name = load.v1_twin(full)
        ours, theirs = v1.messages[name], beta.messages[full]
        old, new = {f.name for f in ours.field}, {f.name for f in theirs.field}
        for f in theirs.field:
            if f.name not in old:
                add_field(ours, theirs, f)
                flags[name, f.name] = "PB_F_BETA_ONLY"
                touched[v1.file[name].name] = v1.file[name]
        for field in old - new:
            flags[name, field] = "PB_F_V1_ONLY"
    for f in touched.values():
        add_imports(f, v1, files)
    out = descriptor_pb2.FileDescriptorSet()
    out.file.extend(ordered(merged.file))
    return out, flags


def add_imports(f, v1, files):
    known = dict(v1.file)
    for name in ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"):
        g = files["google/protobuf/%s.proto" % name]
        known.update({"google.protobuf." + m.name: g for m in g.message_type})
    known["google.rpc.Status"] = files["google/rpc/status.proto"]

    def walk(messages):
        for m in messages:
            for field in m.field:
                if field.type_name:
                    home = known.get(field.type_name[1:])
                    if home is None and field.type_name[1:].startswith(load.V1 + "."):
                        sys.exit("pgen: v1beta1 needs %s in v1" % field.type_name)
                    if home is not None and home.name not in list(f.dependency) + [f.name]:
                        f.dependency.append(home.name)
            walk(m.nested_type)

    walk(f.message_type)
