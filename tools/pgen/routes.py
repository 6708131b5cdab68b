"""pb_routes.c and rpc_id.h: every method, every HTTP binding, and a trie over the templates.

There is a trie for each version prefix (v1, also served as /ui, v1beta1, ...). A method of a twin package
(v1beta1) shares the id, and by name the messages, of its v1 twin; where there is no twin the id is
RPC_NONE and the descriptors are NULL, so the method is known and answers UNIMPLEMENTED."""
import os
import re
import sys

import load
import mixins

# Packages with HTTP bindings of their own, and the version prefix these have. Others are bound in
# mixins.py or by gRPC alone.
BOUND = {load.V1: "v1", load.BETA: "v1beta1", "google.cloud.resourcemanager.v3": "v3",
         "google.logging.v2": "v2", "google.cloudresourcemanager.v1": "v1"}
ROOTS = ["v1", "v1beta1", "v2", "v3"]  # the order of ROUTE_ROOT_* in src/pb/rpc.h

VAR = re.compile(r"\{([\w.]+)(?:=([^}]*))?\}")


class Rpc:
    pass


class Route:
    pass


def upper_snake(s):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", s).upper()


def rpc_id(service, method):
    short = service.rpartition(".")[2]
    short = re.sub(r"Service(V\d+)?$", "", short)
    return "RPC_%s_%s" % (upper_snake(short), upper_snake(method))


def qualify(name, package):
    return name if not name or "." in name else package + "." + name


def split_template(t):
    """'{a=x/*}/y:verb' -> segments ['x','*','y'], vars [('a',0,2)], verb."""
    m = re.fullmatch(r"(.*\}|[^:]*?(?:\}[^:}]*)?)(?::(\w+))?", t)
    body, verb = m.group(1), m.group(2) or ""
    segs, vars_, pos = [], [], 0
    while pos < len(body):
        if body[pos] == "/":
            pos += 1
            continue
        m = VAR.match(body, pos)
        if m:
            sub = (m.group(2) or "*").split("/")
            vars_.append((m.group(1), len(segs), len(sub)))
            segs += sub
            pos = m.end()
        else:
            end = body.find("/", pos)
            end = len(body) if end < 0 else end
            segs.append(body[pos:end])
            pos = end
    if any("**" in s or (("*" in s or "{" in s) and s != "*") for s in segs):
        sys.exit("pgen: route template not supported: " + t)
    return segs, vars_, verb


def http_rules(rule):
    for r in [rule] + list(rule.additional_bindings):
        kind = r.WhichOneof("pattern")
        if kind == "custom":
            yield r.custom.kind, r.custom.path, r.body, r.response_body
        elif kind:
            yield kind.upper(), getattr(r, kind), r.body, r.response_body


def collect(api, messages):
    rpcs, routes = {}, []

    def c_desc(name):
        return messages[name].lower if name in messages else None

    def add_rpc(package, service, m, beta):
        full = "%s.%s/%s" % (package, service.name, m.name)
        r = Rpc()
        r.full, r.beta = full, beta
        r.id = rpc_id(package + "." + service.name, m.name)
        r.input = load.v1_twin(m.input_type[1:])
        r.output = load.v1_twin(m.output_type[1:])
        lro = m.options.Extensions[api.ext["lro"]]
        r.lro_response = qualify(lro.response_type, package)
        r.lro_metadata = qualify(lro.metadata_type, package)
        r.cs, r.ss = m.client_streaming, m.server_streaming
        r.cin, r.cout = c_desc(r.input), c_desc(r.output)
        if beta:
            twin = rpcs.get(full.replace(load.BETA, load.V1))
            if twin is None or r.cin is None or r.cout is None:
                r.id = "RPC_NONE"
        rpcs[full] = r
        return r

    def add_route(rpc, prefix, method, template, body, resp):
        t = Route()
        t.rpc, t.prefix, t.method, t.template, t.body, t.resp = (rpc, prefix, method, template,
                                                                 body, resp)
        t.segs, t.vars, t.verb = split_template(template)
        routes.append(t)

    for beta, ds in ((False, api.v1), (True, api.beta)):
        for f in ds.file:
            if beta and f.package != load.BETA:
                continue
            for s in f.service:
                for m in s.method:
                    r = add_rpc(f.package, s, m, beta)
                    if f.package not in BOUND:
                        continue
                    for method, path, body, resp in http_rules(m.options.Extensions[api.ext["http"]]):
                        prefix, _, rest = path.lstrip("/").partition("/")
                        if prefix == "ui":
                            continue
                        if prefix != BOUND[f.package]:
                            sys.exit("pgen: unexpected prefix in " + path)
                        add_route(r, prefix, method, rest, body, resp)
    for full, method, template, body in mixins.BINDINGS:
        if full not in rpcs:
            sys.exit("pgen: mixin of unknown method " + full)
        for prefix in mixins.PREFIXES:
            add_route(rpcs[full], prefix, method, template, body, "")
    owner = {}
    for r in rpcs.values():
        first = owner.setdefault(r.id, load.v1_twin(r.full))
        if r.id != "RPC_NONE" and first != load.v1_twin(r.full):
            sys.exit("pgen: %s and %s have the same id" % (first, r.full))
    return rpcs, routes


class Node:
    def __init__(self):
        self.literals, self.star, self.terms = {}, None, []


def build_trie(routes, prefix):
    root = Node()
    seen = {}
    for i, t in enumerate(routes):
        if t.prefix != prefix:
            continue
        n = root
        for s in t.segs:
            if s == "*":
                n.star = n.star or Node()
                n = n.star
            else:
                n = n.literals.setdefault(s, Node())
        key = (t.method, tuple(t.segs), t.verb)
        if key in seen:
            if seen[key].rpc.full != t.rpc.full:
                sys.stderr.write("pgen: %s %s is bound to %s and %s; the first is served\n" % (
                    t.method, t.template, seen[key].rpc.full, t.rpc.full))
            continue
        seen[key] = t
        n.terms.append(i)
    return root


def flatten(roots):
    nodes, literals, terms = [], [], []
    order = list(roots)
    index = {id(n): i for i, n in enumerate(order)}
    for n in order:  # grows while we walk: breadth first
        for s in sorted(n.literals):
            index[id(n.literals[s])] = len(order)
            order.append(n.literals[s])
        if n.star:
            index[id(n.star)] = len(order)
            order.append(n.star)
    for n in order:
        nodes.append((len(literals), len(n.literals), index[id(n.star)] if n.star else 0,
                      len(terms), len(n.terms)))
        literals += [(s, index[id(n.literals[s])]) for s in sorted(n.literals)]
        terms += n.terms
    return nodes, literals, terms


def generate(api, messages, out):
    rpcs, routes = collect(api, messages)
    ids = sorted({r.id for r in rpcs.values()} - {"RPC_NONE"})
    h = ["/* Generated by tools/pgen. */", "#ifndef CUSP_PB_RPC_ID_H", "#define CUSP_PB_RPC_ID_H",
         "", "enum rpc_id {", "    RPC_NONE = 0,"] + ["    %s," % i for i in ids] + [
         "    RPC_NR", "};", "", "#endif", ""]
    load.write(os.path.join(out, "rpc_id.h"), "\n".join(h))

    c = ['/* Generated by tools/pgen. */\n#include "pb/aip.h"\n#include "pb/rpc.h"\n']
    order = sorted(rpcs)
    c.append("const struct rpc_method rpc_table[] = {")
    for full in order:
        r = rpcs[full]
        desc = lambda x: "&%s__descriptor" % x if x else "NULL"
        opt = lambda x: load.c_str(x) if x else "NULL"
        c.append("    {%s, %d, %s, %s, %s, %s, %s, %s, %s, %s}," % (
            load.c_str(full), len(full), r.id, "true" if r.beta else "false", desc(r.cin),
            desc(r.cout), opt(r.lro_response), opt(r.lro_metadata),
            "true" if r.cs else "false", "true" if r.ss else "false"))
    c.append("};\nconst size_t rpc_table_n = %d;\n" % len(order))
    for i, t in enumerate(routes):
        if t.vars:
            c.append("static const struct route_var v%d[] = {%s};" % (i, ", ".join(
                "{%s, %d, %d}" % (load.c_str(p), a, n) for p, a, n in t.vars)))
    c.append("const struct route route_table[] = {")
    for i, t in enumerate(routes):
        c.append("    {%s, %s, %s, %s, %s, &rpc_table[%d], %s, %d}," % (
            load.c_str(t.method), load.c_str("/" + t.prefix + "/" + t.template),
            load.c_str(t.verb), load.c_str(t.body), load.c_str(t.resp), order.index(t.rpc.full),
            "v%d" % i if t.vars else "NULL", len(t.vars)))
    c.append("};\nconst size_t route_table_n = %d;\n" % len(routes))
    nodes, literals, terms = flatten([build_trie(routes, prefix) for prefix in ROOTS])
    if max(len(nodes), len(literals), len(terms)) > 65535:
        sys.exit("pgen: trie too big for 16-bit indexes")
    c.append("const struct route_node route_nodes[] = {")
    c += ["    {%d, %d, %d, %d, %d}," % n for n in nodes]
    c.append("};\nconst struct route_lit route_lits[] = {")
    c += ["    {%s, %d, %d}," % (load.c_str(s), len(s), n) for s, n in literals]
    c.append("};\nconst uint16_t route_terms[] = {")
    c.append("    " + ", ".join(map(str, terms)))
    c.append("};\n")
    load.write(os.path.join(out, "pb_routes.c"), "\n".join(c))
