#!/usr/bin/env bash
# Upload and download of 1 GiB through the storage API beside cp on the same file system.
# usage: bench/blob_bench.sh [BUILD_DIR (a release build with gcs_server)] [SIZE_MIB] [WORK_DIR]
# Each figure is the best of three; the page cache is warm for all of them. The upload ends after
# fsync, so it stands beside "cp + fsync"; plain cp leaves its bytes in the page cache.
set -euo pipefail
build=${1:-build-release} mib=${2:-1024} root=${3:-$(mktemp -d "${TMPDIR:-/tmp}/cusp-bench-XXXXXX")}
server=$build/tests/unit/blob/gcs_server
[ -x "$server" ] || { echo "build $server first: ninja -C $build tests/unit/blob/gcs_server" >&2; exit 1; }
data=$root/data out=$root/out
mkdir -p "$data"
coproc SERVER { exec "$server" "$data" 2>"$root/log"; }
pid=$SERVER_PID
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$root"' EXIT
read -r address <&"${SERVER[0]}"
url=http://$address
head -c "${mib}M" /dev/urandom >"$root/src"
curl -sf -o "$out" -XPOST "$url/storage/v1/b?project=bench" -d '{"name":"bench"}'

ticks() { awk '{print $14, $15}' "/proc/$pid/stat"; } # user and system time of the server
best() { # best COMMAND...: seconds of the fastest of three
    local best=999999 t0 t1 t
    for _ in 1 2 3; do
        rm -f "$root/copy"
        sync -f "$root" # what earlier runs left to write is not this run's
        t0=$(date +%s%N)
        "$@" >/dev/null
        t1=$(date +%s%N)
        t=$(((t1 - t0) / 1000000))
        [ "$t" -lt "$best" ] && best=$t
    done
    echo "$best"
}
copy() { cp --reflink=never "$root/src" "$root/copy"; }
copy_sync() { cp --reflink=never "$root/src" "$root/copy" && sync "$root/copy"; }
here=$(cd "$(dirname "$0")" && pwd)
upload() { python3 "$here/blob_client.py" put "$address" bench big "$root/src"; }
download() { python3 "$here/blob_client.py" get "$address" bench big "$root/copy"; }
receive() { curl -sf -o /dev/null "$url/download/storage/v1/b/bench/o/big?alt=media"; }

row() { # row NAME MS REFERENCE_MS
    printf '%-28s %7d ms %8d MiB/s %6d %%\n' "$1" "$2" $((mib * 1000 / ($2 + 1))) $(($3 * 100 / ($2 + 1)))
}
cp_ms=$(best copy)
cs_ms=$(best copy_sync)
before=$(ticks)
up_ms=$(best upload)
echo "server ticks (user system) before and after three uploads: $before -> $(ticks)"
down_ms=$(best download)
recv_ms=$(best receive)
printf '%d MiB, %s processors, best of 3\n' "$mib" "$(nproc)"
row "cp" "$cp_ms" "$cp_ms"
row "cp + fsync" "$cs_ms" "$cp_ms"
row "upload (durable)" "$up_ms" "$cp_ms"
row "  beside cp + fsync" "$up_ms" "$cs_ms"
row "download to a file" "$down_ms" "$cp_ms"
row "download, bytes dropped" "$recv_ms" "$cp_ms"
