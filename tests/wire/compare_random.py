#!/usr/bin/python3
"""Random messages of every type, through our JSON reader and writer and through the official Python
runtime; bytes and JSON must agree. v1, and of v1beta1 what its training services reach (tools/pgen/
beta.py). Run by hand:  tests/wire/compare_random.py BUILD [SEED [COUNT]]"""
import json
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import make_golden as golden  # noqa: E402  (puts tools/pgen on the path)
import beta  # noqa: E402
import cgen  # noqa: E402
import load  # noqa: E402
from google.protobuf import descriptor_pool, json_format, message_factory  # noqa: E402
from google.protobuf.descriptor import FieldDescriptor as F  # noqa: E402

ANY_TYPES = ["google.cloud.aiplatform.v1.CustomJob", "google.protobuf.Duration",
             "google.rpc.Status", "google.protobuf.Value", "google.protobuf.Empty"]
CHARS = "abcXYZ 09_-\"\\\n\té漢🙂/"
DEPTH = 6
INT = {F.TYPE_INT32: (32, True), F.TYPE_SINT32: (32, True), F.TYPE_SFIXED32: (32, True),
       F.TYPE_UINT32: (32, False), F.TYPE_FIXED32: (32, False), F.TYPE_INT64: (64, True),
       F.TYPE_SINT64: (64, True), F.TYPE_SFIXED64: (64, True), F.TYPE_UINT64: (64, False),
       F.TYPE_FIXED64: (64, False)}


class Maker:
    def __init__(self, seed, pool):
        self.rng, self.pool = random.Random(seed), pool
        self.factory = message_factory.MessageFactory(pool)
        self.package = load.V1

    def empty(self, name):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(name))()

    def text(self):
        return "".join(self.rng.choice(CHARS) for _ in range(self.rng.randrange(8)))

    def scalar(self, f):
        rng = self.rng
        if f.type in INT:
            bits, signed = INT[f.type]
            lo = -(1 << bits - 1) if signed else 0
            hi = (1 << bits - 1) - 1 if signed else (1 << bits) - 1
            return rng.choice([0, 1, lo, hi, rng.randint(lo, hi)])
        if f.type == F.TYPE_BOOL:
            return rng.random() < .5
        if f.type == F.TYPE_DOUBLE:
            return rng.choice([0.0, 1.5, 1e300, 5e-324, 0.1, 1 / 3, 123456789.123, 1000.0,
                               float("inf"), float("-inf")])
        if f.type == F.TYPE_FLOAT:
            return rng.choice([0.0, 1.5, 0.1, 3.4e38, 16777217.0, float("inf")])
        if f.type == F.TYPE_STRING:
            return self.text()
        if f.type == F.TYPE_BYTES:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(5)))
        unknown = [] if f.enum_type.full_name == "google.protobuf.NullValue" else [777]
        return rng.choice([v.number for v in f.enum_type.values] + unknown)

    def well_known(self, m, depth):
        rng, name = self.rng, m.DESCRIPTOR.full_name.rpartition("google.protobuf.")[2]
        if name == "Timestamp":
            m.seconds = rng.randint(-62135596800, 253402300799)
            m.nanos = rng.choice([0, 5, 1000, 123456000, 999000000, 999999999])
        elif name == "Duration":
            m.seconds = rng.randint(-315576000000, 315576000000)
            nanos = rng.choice([0, 1, 500000000, 1000])
            m.nanos = nanos if m.seconds > 0 else -nanos
        elif name == "FieldMask":
            m.paths.extend(rng.choice(["a", "display_name", "a_b.c_d"])
                           for _ in range(rng.randrange(4)))
        elif name == "Any":
            name = rng.choice(ANY_TYPES)  # a v1beta1 answer names v1beta1 types
            inner = self.empty(name.replace(load.V1 + ".", self.package + "."))
            self.fill(inner, depth + 1)
            m.type_url = "type.googleapis.com/" + inner.DESCRIPTOR.full_name
            m.value = inner.SerializeToString(deterministic=True)
        elif name == "Value":
            kind = rng.randrange(6 if depth < DEPTH else 4)
            if kind == 0:
                m.null_value = 0
            elif kind == 1:
                m.number_value = rng.choice([0.0, 1.0, -2.5, 1e20, 0.1])
            elif kind == 2:
                m.string_value = self.text()
            elif kind == 3:
                m.bool_value = rng.random() < .5
            else:
                sub = m.struct_value if kind == 4 else m.list_value
                sub.SetInParent()
                self.fill(sub, depth + 1)
        else:
            return False
        return True

    def fill(self, m, depth=0):
        if self.well_known(m, depth):
            return
        rng = self.rng
        for f in m.DESCRIPTOR.fields:
            if m.DESCRIPTOR.full_name.startswith("google.cloud") and \
                    rng.random() < .45 + .08 * depth:
                continue
            if f.message_type and depth >= DEPTH:
                continue
            if f.message_type and f.message_type.GetOptions().map_entry:
                key, value = f.message_type.fields
                for _ in range(rng.randrange(3)):
                    k = self.scalar(key)
                    if value.message_type:
                        self.fill(getattr(m, f.name)[k], depth + 1)
                    else:
                        getattr(m, f.name)[k] = self.scalar(value)
            elif f.label == F.LABEL_REPEATED:
                for _ in range(rng.randrange(3)):
                    if f.message_type:
                        self.fill(getattr(m, f.name).add(), depth + 1)
                    else:
                        getattr(m, f.name).append(self.scalar(f))
            elif f.message_type:
                sub = getattr(m, f.name)
                sub.SetInParent()
                self.fill(sub, depth + 1)
            else:
                setattr(m, f.name, self.scalar(f))


def difference(m, pool, answer):
    if not answer.startswith("ok "):
        return answer
    wire, text = answer[3:].split("\t", 1)
    got = type(m)()
    got.ParseFromString(bytes.fromhex(wire))
    want = json_format.MessageToDict(m, descriptor_pool=pool)
    if got != m and json_format.MessageToDict(got, descriptor_pool=pool) != want:
        return "bytes differ"
    if golden.numbers(json.loads(text)) != golden.numbers(want):
        return "JSON differs: " + text
    return None


def main():
    build = sys.argv[1]
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 3000
    with tempfile.TemporaryDirectory() as tmp:
        api = load.Api()
        api.ext = load.option_modules(golden.PROTOS, tmp)
        api.v1 = load.descriptor_set(golden.PROTOS, tmp, "v1")
        files = api.v1.file
        api.beta = load.descriptor_set(golden.PROTOS, tmp, "v1beta1")
    pool = descriptor_pool.DescriptorPool()
    for f in {f.name: f for f in list(files) + list(api.beta.file)}.values():
        pool.Add(f)
    names = [n for f in files if f.name not in cgen.OPTION_ONLY
             for n, m in cgen.walk(f.package, f.message_type) if not m.options.map_entry]
    beta_index = beta.Index(api.beta, load.BETA)
    names += [n for n in beta.reachable(api, beta_index)
              if not beta_index.messages[n].options.map_entry]
    maker = Maker(seed, pool)
    rng, cases, lines = maker.rng, [], []
    while len(cases) < count:
        m, again = (maker.empty(n) for n in [rng.choice(names)] * 2)
        is_beta = m.DESCRIPTOR.full_name.startswith(load.BETA + ".")
        maker.package = load.BETA if is_beta else load.V1
        maker.fill(m)
        d = json_format.MessageToDict(m, descriptor_pool=pool,
                                      preserving_proto_field_name=rng.random() < .3,
                                      use_integers_for_enums=rng.random() < .3)
        json_format.ParseDict(d, again, descriptor_pool=pool)
        cases.append(again)
        lines.append(m.DESCRIPTOR.full_name + "\t" + json.dumps(d, ensure_ascii=rng.random() < .5))
    p = subprocess.run([os.path.join(build, "tests/unit/pb/pbconv")], text=True,
                       input="\n".join(lines) + "\n", stdout=subprocess.PIPE, check=True)
    bad = 0
    for m, line, answer in zip(cases, lines, p.stdout.split("\n")):
        why = difference(m, pool, answer)
        if why:
            bad += 1
            print("%s\n   %s" % (line[:400], why[:800]))
    print("seed %d: %d messages, %d differ" % (seed, count, bad))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
