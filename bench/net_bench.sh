#!/usr/bin/env bash
# What the network layer alone can do: small GETs (wrk, 64 connections), a 1 GiB download and upload
# beside cp on the same file system. Usage: bench/net_bench.sh RELEASE_BUILD [DIR]
# Needs wrk and curl. Prints a table; peers are measured in the same run.
set -euo pipefail
build=${1:?release build folder} dir=${2:-$(mktemp -d)}
mkdir -p "$dir"
ninja -C "$build" tests/unit/net/echo_server >/dev/null
"$build/tests/unit/net/echo_server" 127.0.0.1:0 >"$dir/address" 2>"$dir/errors" &
server=$!
trap 'kill "$server" 2>/dev/null; rm -f "$dir"/bench.* "$dir/address" "$dir/errors"' EXIT
until [ -s "$dir/address" ]; do sleep 0.05; done
at=$(cat "$dir/address")
mb=${MB:-1024}
rate() { # COMMAND...: MB/s over mb, the best of three
    local best=0 t0 t1 v
    for _ in 1 2 3; do
        rm -f "$dir/bench.out"
        t0=$(date +%s%N); "$@"; t1=$(date +%s%N)
        v=$((mb * 1000000000 / (t1 - t0)))
        [ "$v" -gt "$best" ] && best=$v
    done
    echo "$best"
}
head -c "${mb}M" /dev/urandom >"$dir/bench.in"
row() { printf '%-44s %12s %s\n' "$1" "$2" "${3:-}"; }
row "measure" "figure" "unit"
row "GET, 64 keep-alive connections" "$(wrk -t1 -c64 -d5 "http://$at/" | awk '/Requests\/sec/ {printf "%d", $2}')" "replies/s"
row "GET, 64 connections, 1 thread: p99" "$(wrk -t1 -c64 -d3 --latency "http://$at/" | awk '/99%/ {print $2}')"
row "cp ${mb} MiB" "$(rate cp "$dir/bench.in" "$dir/bench.out")" "MiB/s"
row "download to a file (curl)" "$(rate curl -s -o "$dir/bench.out" "http://$at/file?$dir/bench.in")" "MiB/s"
cmp "$dir/bench.in" "$dir/bench.out"
cpu() { awk '{print $14 + $15}' "/proc/$server/stat"; } # ticks of 10 ms
before=$(cpu)
row "download to /dev/null (curl)" "$(rate curl -s -o /dev/null "http://$at/file?$dir/bench.in")" "MiB/s"
row "  the same per second of the server's CPU" "$((3 * mb * 100 / ($(cpu) - before + 1)))" "MiB/s"
row "upload, bytes dropped by the server (curl)" "$(rate curl -s -o /dev/null -T "$dir/bench.in" "http://$at/put")" "MiB/s"
row "server resident memory after all that" "$(awk '/VmRSS/ {print $2}' "/proc/$server/status")" "KiB"
