"""protobuf-c messages: prepares the descriptors, runs protoc-gen-c as a plug-in, links our tables in.

protoc-gen-c 1.4.1 refuses proto3 `optional`; clearing the marker leaves the synthetic one-member
oneof, which has the same wire form and real presence. Its descriptors have a reserved pointer, which
becomes the link to our own table of the message (pb_info() in src/pb/pbinfo.h)."""
import os
import re
import subprocess
import sys

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

import load

NR_SHARDS = 4
# Files that only declare options: their types occur in no field.
OPTION_ONLY = {"google/protobuf/descriptor.proto", "google/api/annotations.proto",
               "google/api/http.proto", "google/api/client.proto",
               "google/api/field_behavior.proto", "google/api/resource.proto",
               "google/api/launch_stage.proto", "google/iam/v1/options.proto"}
# iam/v1/options.proto does hold a message used by a field.
OPTION_ONLY.discard("google/iam/v1/options.proto")


class Message:
    """full: proto name; c: C type; lower: C function prefix; proto: DescriptorProto; opts: the
    same with custom options; is_map: map entry."""


def flat_name(name):
    return name.replace("google/cloud/aiplatform/v1/", "aip/").replace("/", "_")


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def c_file_options(package):
    """ProtobufCFileOptions{gen_pack_helpers=false, c_package} as extension 1019 of FileOptions."""
    body = b"\x10\x00"
    if package == load.V1:
        body += b"\x32\x03aip"
    return varint(1019 << 3 | 2) + varint(len(body)) + body


def strip_message(m):
    m.ClearField("options") if not m.options.map_entry else None
    for f in m.field:
        f.ClearField("options")
        f.ClearField("proto3_optional")
    for o in m.oneof_decl:
        o.ClearField("options")
    for e in m.enum_type:
        strip_enum(e)
    for n in m.nested_type:
        strip_message(n)


def strip_enum(e):
    alias = e.options.allow_alias
    e.ClearField("options")
    if alias:
        e.options.allow_alias = True
    for v in e.value:
        v.ClearField("options")


def prepare(fd):
    out = descriptor_pb2.FileDescriptorProto()
    out.CopyFrom(fd)
    out.name = flat_name(fd.name)
    deps = [flat_name(d) for d in fd.dependency if d not in OPTION_ONLY]
    for f in ("dependency", "public_dependency", "weak_dependency", "service", "extension",
              "source_code_info", "options"):
        out.ClearField(f)
    out.dependency.extend(deps)
    out.options.MergeFromString(c_file_options(fd.package))
    for m in out.message_type:
        strip_message(m)
    for e in out.enum_type:
        strip_enum(e)
    return out


def run_plugin(files):
    req = plugin_pb2.CodeGeneratorRequest()
    req.proto_file.extend(files)
    req.file_to_generate.extend(f.name for f in files)
    p = subprocess.run(["protoc-gen-c"], input=req.SerializeToString(), stdout=subprocess.PIPE)
    if p.returncode:
        sys.exit("pgen: protoc-gen-c failed")
    resp = plugin_pb2.CodeGeneratorResponse.FromString(p.stdout)
    if resp.error:
        sys.exit("pgen: protoc-gen-c: " + resp.error)
    return {f.name: f.content for f in resp.file}


def walk(prefix, messages):
    for m in messages:
        full = prefix + "." + m.name
        yield full, m
        yield from walk(full, m.nested_type)


DESC = re.compile(
    r"const ProtobufCMessageDescriptor (?P<lower>\w+)__descriptor =\n\{\n"
    r"  PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,\n"
    r'  "(?P<full>[\w.]+)",\n  "\w+",\n  "(?P<c>\w+)",\n  "[\w.]*",\n'
    r"(?P<rest>.*?)NULL,NULL,NULL    /\* reserved\[123\] \*/", re.S)


def link_tables(text, names):
    """Fills the first reserved pointer of every message descriptor."""
    def fill(m):
        names[m["full"]] = (m["c"], m["lower"])
        return (m.group(0)[:m.group(0).rindex("NULL,NULL,NULL")] +
                "(void *)&%s__info,NULL,NULL" % m["lower"])
    text = DESC.sub(fill, text)
    decls = "".join("extern const struct pb_msg_info %s__info;\n" % names[n][1]
                    for n in names if ("(void *)&%s__info" % names[n][1]) in text)
    return "struct pb_msg_info;\n" + decls + text


def generate(api, out):
    files = [f for f in api.v1.file if f.name not in OPTION_ONLY]
    content = run_plugin([prepare(f) for f in files])
    names = {}
    gen = os.path.join(out, "gen")
    sources, headers = [], []
    for fname, text in content.items():
        # protoc-gen-c names headers relative to the include root; ours sit in pb/gen/.
        text = re.sub(r'#include "([\w.-]+\.pb-c\.h)"', r'#include "pb/gen/\1"', text)
        if fname.endswith(".c"):
            text = link_tables(text, names)
            sources.append(fname)
        else:
            headers.append(fname)
        load.write(os.path.join(gen, fname), text)

    load.write(os.path.join(out, "aip.h"),
                          "/* Generated by tools/pgen. */\n#ifndef CUSP_PB_AIP_H\n"
                          "#define CUSP_PB_AIP_H\n\n" +
                          "".join('#include "pb/gen/%s"\n' % h for h in headers) + "\n#endif\n")
    sizes = [0] * NR_SHARDS
    shards = [[] for _ in range(NR_SHARDS)]
    for s in sorted(sources, key=lambda s: (-len(content[s]), s)):
        i = sizes.index(min(sizes))
        sizes[i] += len(content[s])
        shards[i].append(s)
    for i, shard in enumerate(shards):
        load.write(os.path.join(out, "pb_messages_%d.c" % i),
                              "".join('#include "pb/gen/%s"\n' % s for s in shard))

    messages = {}
    for f in files:
        for full, m in walk(f.package, f.message_type):
            if full not in names:
                sys.exit("pgen: no C descriptor found for " + full)
            msg = Message()
            msg.full, msg.proto = full, m
            msg.c, msg.lower = names[full]
            msg.is_map = m.options.map_entry
            messages[full] = msg
    if len(messages) != len(names):
        sys.exit("pgen: %d messages, %d C descriptors" % (len(messages), len(names)))
    return messages
