# shellcheck shell=bash
# Sourced by the setups of tests/storage-clients and tests/logging-clients: setup_node, setup_go and setup_java install or
# build the client in FOLDER, from pinned versions, into $CUSP_CLIENT_ENV. Nothing is done twice; exit 77 with a line
# of JSON when the language is not here.
set -euo pipefail
env=$CUSP_CLIENT_ENV

skip() { # CLIENT WHY INSTALL
    printf '{"client":"%s","skip":"%s","install":"%s"}\n' "$1" "$2" "$3"
    exit 77
}

fresh() { # STAMP: what the folder was made from is what it would be made from
    [ "$1" = "$(cat "$env/stamp" 2>/dev/null)" ]
}

setup_node() { # FOLDER
    local stamp major
    stamp=$(cat "$1/package.json" "$1/package-lock.json" | sha256sum)
    ! fresh "$stamp" || return 0
    if ! { command -v node && command -v npm; } >/dev/null; then skip node "node or npm is not installed" "apt-get install nodejs npm"; fi
    major=$(node -p 'process.versions.node.split(".")[0]')
    [ "$major" -ge 18 ] || skip node "node $major is too old for the client" "node 18 or newer"
    mkdir -p "$env"
    cp "$1/package.json" "$1/package-lock.json" "$env/"
    if ! npm ci --prefix "$env" --no-audit --no-fund --ignore-scripts >"$env/log" 2>&1; then
        curl -sfI --max-time 10 https://registry.npmjs.org/ >/dev/null || skip node "the npm registry cannot be reached" "a network"
        tail -n 20 "$env/log" >&2
        exit 1
    fi
    printf '%s\n' "$stamp" >"$env/stamp"
}

# The driver, and, where there is one, the program that runs inside jobs (injob/).
setup_go() { # FOLDER
    local stamp lib
    lib=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
    stamp=$(cd "$1" && { cat go.mod go.sum && find . "$lib/cases" -name '*.go' -print0 | sort -z | xargs -0 cat; } | sha256sum)
    ! { [ -x "$env/driver" ] && fresh "$stamp"; } || return 0
    mkdir -p "$env"
    # shellcheck source=tests/clients/go/toolchain.sh
    . "$lib/../clients/go/toolchain.sh"
    go_toolchain go "$env"
    cd "$1"
    go build -mod=readonly -buildvcs=false -trimpath -o "$env/driver" . >&2
    [ ! -d injob ] || CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -o "$env/injob/injob" ./injob >&2
    printf '%s\n' "$stamp" >"$env/stamp"
}

# Maven brings the client; the driver is compiled with what the drivers share.
setup_java() { # FOLDER
    local stamp lib tools="apt-get install openjdk-17-jdk-headless maven"
    lib=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/cases-java
    stamp=$(cat "$1/pom.xml" "$1"/src/main/java/*.java "$lib"/cusp/*.java "${BASH_SOURCE[0]}" | sha256sum)
    ! fresh "$stamp" || return 0
    command -v javac >/dev/null || skip java "no Java compiler is installed" "$tools"
    command -v mvn >/dev/null || skip java "mvn is not installed" "$tools"
    mkdir -p "$env"
    rm -rf "$env/target"
    mvn -q -B -f "$1/pom.xml" -Ddir="$env/target" dependency:copy-dependencies -DoutputDirectory="$env/lib" >&2
    javac --release 17 -encoding UTF-8 -Xlint:all,-processing,-serial,-classfile -d "$env/target/classes" -cp "$env/lib/*" \
        "$lib"/cusp/*.java "$1"/src/main/java/*.java >&2
    printf '%s\n' "$stamp" >"$env/stamp"
}
