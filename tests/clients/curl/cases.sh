# The ten cases with curl and jq; sourced by run. A case is a function that fails by `die`, and says its detail on fd 4.
# shellcheck shell=bash

: "${CUSP_ENDPOINT:?}" "${CUSP_HOSTPORT:?}" "${CUSP_IMAGE:?}"
project=${CUSP_PROJECT:-demo} location=${CUSP_LOCATION:-us-central1}
parent=projects/$project/locations/$location
bucket=cusp-conformance
run=$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
# shellcheck disable=SC2016 # for the container's shell
result='d=/gcs/${AIP_MODEL_DIR#gs://}; mkdir -p "$d" && echo 42 > "$d/result"'
nap='trap "exit 0" TERM; sleep 300 & wait' # ends at once when told to

die() { printf '%s\n' "$*" >&3; exit 1; }
detail() { printf '%s\n' "$*" >&4; }

# Headers as documented; $status and $body are what came back.
http() { # METHOD PATH [BODY|@FILE]
    local args=(-sS -X "$1" -H 'Authorization: Bearer local' -o "$tmp/body" -w '%{http_code} %{http_version}') said
    [ $# -lt 3 ] || args+=(-H 'Content-Type: application/json; charset=utf-8' -d "$3")
    said=$(curl "${how[@]}" "${args[@]}" "$base$2" 2>&1) || die "curl: $said"
    [ "${said#* }" = "$http_version" ] || die "$1 $2 was answered over HTTP/${said#* }, not $http_version"
    status=${said% *} body=$(tr -d '\0' <"$tmp/body")
}
want() { # STATUS what
    [ "$status" = "$1" ] || die "$2: want $1, got $status: ${body:0:400}"
}
field() { jq -r "$1 // empty" <<<"$body"; }
holds() { jq -e "$1" <<<"$body" >/dev/null || die "$2: not ($1): ${body:0:600}"; }

# request.json of the documentation ("Create a CustomJob"), with its placeholders filled in.
request() { # NAME COMMAND [LABELS]
    jq -n --arg name "$1" --arg command "$2" --argjson labels "${3:-{\}}" --arg image "$CUSP_IMAGE" \
        --arg out "gs://$bucket/$run/$1" --arg run "$run" '{
        displayName: $name,
        jobSpec: {
            workerPoolSpecs: [{
                machineSpec: {machineType: "n1-standard-4"},
                replicaCount: 1,
                containerSpec: {imageUri: $image, command: ["sh", "-c", $command], args: ["a b", "ü"],
                    env: [{name: "GREETING", value: "hallo"}]}
            }],
            scheduling: {timeout: "600s"},
            baseOutputDirectory: {outputUriPrefix: $out}
        },
        labels: ({conformance: $run} + $labels)
    }'
}
create_job() { # NAME COMMAND [LABELS]: sets $name
    request "$@" >"$tmp/request.json"
    http POST "/v1/$parent/customJobs" "@$tmp/request.json"
    want 200 create
    name=$(field .name)
    echo "$name" >>"$tmp/made"
}
until_state() { # NAME STATE|STATE…
    local i
    for i in $(seq 600); do
        http GET "/v1/$1"
        want 200 get
        [[ $(field .state) =~ ^JOB_STATE_($2)$ ]] && return
        sleep 0.1
    done
    die "gave up after $i looks at $1: $(field .state)"
}
ended() { until_state "$1" 'SUCCEEDED|FAILED|CANCELLED'; }

case_create() {
    http POST "/storage/v1/b?project=$project" "{\"name\":\"$bucket\"}"
    [[ $status =~ ^(200|409)$ ]] || die "bucket: $status $body"
    create_job créé true '{"team":"vision"}'
    [[ $name =~ ^projects/[0-9]+/locations/$location/customJobs/[1-9][0-9]{9,18}$ ]] || die "name $name"
    echo "$name" >"$tmp/first"
    holds '.state == "JOB_STATE_PENDING" or .state == "JOB_STATE_QUEUED"' state
    holds '(.createTime | sub("\\.[0-9]+"; "") | fromdate) as $t | (now - $t) | fabs < 60' "create time"
    jq -S 'del(.jobSpec.workerPoolSpecs[].replicaCount)' "$tmp/request.json" >"$tmp/sent"
    jq -S '{displayName, jobSpec, labels} | del(.jobSpec.workerPoolSpecs[] | .replicaCount, .diskSpec)' \
        <<<"$body" >"$tmp/got"
    diff "$tmp/sent" "$tmp/got" >"$tmp/diff" || die "not what was sent: $(head -c 300 "$tmp/diff")"
    holds '.jobSpec.workerPoolSpecs[0] | .replicaCount == "1" and .diskSpec.bootDiskType == "pd-ssd"' defaults
}

case_get() {
    name=$(<"$tmp/first")
    ended "$name"
    local by_number=$body
    http GET "/v1/$parent/customJobs/${name##*/}"
    want 200 "get by project id"
    [ "$body" = "$by_number" ] || die "the project's id and number give two answers"
    holds '.jobSpec.workerPoolSpecs[0].containerSpec | .args == ["a b", "ü"] and .env[0].value == "hallo"' fields
    local prefix
    for prefix in v1beta1 ui; do
        http GET "/$prefix/$name"
        want 200 "$prefix"
    done
    http GET "/v1/$name?fields=name,state"
    holds 'keys == ["name", "state"]' fields
}

case_list_paging() {
    local i token='' pages=0 names=''
    : >"$tmp/mine"
    for i in 0 1 2 3 4; do
        create_job "page-$i" true "{\"paging\":\"$run\"}"
        echo "$name" | cat - "$tmp/mine" >"$tmp/newest" && mv "$tmp/newest" "$tmp/mine"
    done
    while [ $pages -lt 4 ]; do
        http GET "/v1/$parent/customJobs?pageSize=2&filter=labels.paging%3D%22$run%22${token:+&pageToken=$token}"
        want 200 list
        holds '.customJobs | length <= 2' "page size"
        names+=$(field '.customJobs[].name')$'\n'
        pages=$((pages + 1))
        token=$(jq -r '.nextPageToken // empty | @uri' <<<"$body")
        [ -n "$token" ] || break
    done
    [ $pages = 3 ] || die "$pages pages, not 3"
    [ "$names" = "$(<"$tmp/mine")"$'\n' ] || die "not every one once, newest first: $names"
}

expect() { # FILTER NAMES
    http GET "/v1/$parent/customJobs?filter=$(jq -rn --arg f "labels.conformance=\"$run\" AND ($1)" '$f | @uri')"
    want 200 "filter $1"
    local got
    got=$(field '[.customJobs[]?.displayName] | sort | join(" ")')
    [ "$got" = "$2" ] || die "filter $1: want $2, got $got"
}
case_filter() {
    local since until
    create_job filter-a true '{"tier":"gold"}'
    ended "$name"
    since=$(field .createTime)
    create_job filter-b 'exit 1' '{"tier":"silver"}'
    ended "$name"
    create_job filter-c true '{"tier":"silver"}'
    until=$(field .createTime)
    expect 'display_name="filter-a"' "filter-a"
    expect 'displayName="filter-a"' "filter-a"
    expect 'display_name:"filter-*"' "filter-a filter-b filter-c"
    expect 'labels.tier="silver"' "filter-b filter-c"
    expect 'labels.tier=gold OR display_name="filter-c"' "filter-a filter-c"
    expect 'state="JOB_STATE_FAILED" AND labels.tier:*' "filter-b"
    expect 'labels.tier:* AND NOT labels.tier="gold"' "filter-b filter-c"
    expect "create_time>=\"$since\" AND create_time<\"$until\" AND labels:tier" "filter-a filter-b"
    http GET "/v1/$parent/customJobs?filter=state+%3D+%3D+3"
    want 400 "bad filter"
    holds '.error.status == "INVALID_ARGUMENT" and (.error.message | test("filter"; "i"))' "bad filter"
}

case_cancel() {
    create_job cancel "$nap"
    local job=$name
    until_state "$job" RUNNING
    http POST "/v1/$job:cancel" '{}'
    want 200 cancel
    holds '. == {}' "answer of cancel"
    ended "$job"
    holds '.state == "JOB_STATE_CANCELLED" and .error.code == 1' cancelled
    http POST "/v1/$job:cancel"
    want 200 "cancel again, without a body"
}

case_delete() {
    create_job delete true
    local job=$name
    ended "$job"
    http DELETE "/v1/$job"
    want 200 delete
    holds '.done and .response == {"@type": "type.googleapis.com/google.protobuf.Empty"}' operation
    holds '.metadata["@type"] == "type.googleapis.com/google.cloud.aiplatform.v1.DeleteOperationMetadata"' metadata
    http GET "/v1/$job"
    want 404 "get of a deleted job"
    create_job delete-busy "$nap"
    until_state "$name" RUNNING
    http DELETE "/v1/$name"
    local refused=$status said=$body
    http POST "/v1/$name:cancel" '{}'
    status=$refused body=$said
    want 400 "delete of a running job"
    holds '.error.status == "FAILED_PRECONDITION"' "delete of a running job"
}

case_wait_real_job() {
    local t0=${EPOCHREALTIME/./} took
    create_job real "$result"
    ended "$name"
    took=$((${EPOCHREALTIME/./} - t0))
    holds '.state == "JOB_STATE_SUCCEEDED" and .createTime <= .startTime and .startTime <= .endTime' "real job"
    http GET "/storage/v1/b/$bucket/o/$run%2Freal%2Fmodel%2Fresult?alt=media"
    want 200 "its result"
    [ "$body" = 42 ] || die "its result is $body"
    detail "$((took / 1000)) ms from create to SUCCEEDED"
}

case_failed_job() {
    create_job failed 'echo boom >&2; exit 3'
    ended "$name"
    holds '.state == "JOB_STATE_FAILED" and .error.code == 3' "failed job"
    holds '.error.message | contains("workerpool0-0") and contains("non-zero status of 3") and contains("boom")' words
    detail "$(field .error.message | head -n 1)"
}

case_error_mapping() {
    http GET "/v1/$parent/customJobs/1234567890123"
    want 404 "unknown job"
    holds '.error | .code == 404 and .status == "NOT_FOUND" and (.message | contains("1234567890123"))' "unknown job"
    request bad true | jq '.jobSpec.workerPoolSpecs = []' >"$tmp/bad.json"
    http POST "/v1/$parent/customJobs" "@$tmp/bad.json"
    want 400 "no pools"
    holds '[.error.details[] | select(.["@type"] == "type.googleapis.com/google.rpc.BadRequest").fieldViolations[].field]
        == ["job_spec.worker_pool_specs"]' "no pools"
    request bad true | jq '.jobSpec.scheduling = {TIMEOUT: 600}' >"$tmp/bad.json"
    http POST "/v1/$parent/customJobs" "@$tmp/bad.json"
    want 400 "the placeholder of the documentation"
    holds '.error.message | contains("TIMEOUT")' "the placeholder of the documentation"
    http POST "/v1/$parent/customJobs" '{"displayName": '
    want 400 "half a body"
    request bad true >"$tmp/bad.json"
    http POST "/v1/projects/$project/locations/mars-north1/customJobs" "@$tmp/bad.json"
    want 400 "unknown region"
    holds '.error | .status == "INVALID_ARGUMENT" and (.message | contains("mars-north1"))' "unknown region"
    http GET "/v1/projects/-/locations/$location/customJobs"
    want 400 "wrong name"
}

case_operations() {
    create_job operations true
    ended "$name"
    http DELETE "/v1/$name"
    want 200 delete
    local op whole=$body
    op=$(field .name)
    for path in "/v1/$op" "/ui/$op" "/v1/$parent/operations/${op##*/}"; do
        http GET "$path"
        want 200 "$path"
        [ "$(jq -S . <<<"$body")" = "$(jq -S . <<<"$whole")" ] || die "$path gives another operation: $body"
    done
    http GET "/v1/$parent/operations"
    holds "[.operations[].name] | index(\"$op\") != null" list
    http POST "/v1/$op:wait" '{"timeout": "1s"}'
    want 200 wait
    holds .done wait
    http POST "/v1/$op:cancel" '{}'
    want 200 cancel
    http DELETE "/v1/$op"
    want 200 "delete of the operation"
    http GET "/v1/$op"
    want 404 "get of a deleted operation"
    detail "$op"
}

clean_up() {
    while read -r name; do
        http GET "/v1/$name"
        [ "$status" = 200 ] || continue
        [[ $(field .state) =~ SUCCEEDED|FAILED|CANCELLED ]] || { http POST "/v1/$name:cancel" '{}'; ended "$name"; }
        http DELETE "/v1/$name"
    done <"$tmp/made"
}

main() { # TRANSPORT
    local case t0 ok said failed=0 version
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    : >"$tmp/made"
    base=${CUSP_ENDPOINT%/} how=(--http1.1) http_version=1.1
    case $1 in
    rest+h2c) how=(--http2-prior-knowledge) http_version=2 ;;
    rest-tls) base=https://$CUSP_HOSTPORT how=(--http1.1 --cacert "$CUSP_CA") ;;
    rest-tls+h2) base=https://$CUSP_HOSTPORT how=(--http2 --cacert "$CUSP_CA") http_version=2 ;;
    esac
    version=$(curl --version | sed -n '1s/curl \([^ ]*\).*/\1/p')
    for case in create get list_paging filter cancel delete wait_real_job failed_job error_mapping operations; do
        t0=${EPOCHREALTIME/./} ok=true
        : >"$tmp/said"
        ( "case_$case" ) 3>"$tmp/said" 4>"$tmp/said" >&2 || { ok=false failed=1; }
        said=$(head -c 500 "$tmp/said")
        [ $ok = true ] || echo "curl: $1 $case: $said" >&2
        jq -cn --arg version "$version" --arg transport "$1" --arg case "$case" --argjson ok $ok --arg detail "$said" \
            --argjson ms $(((${EPOCHREALTIME/./} - t0) / 1000)) \
            '{client: "curl", version: $version, transport: $transport, case: $case, ok: $ok, ms: $ms, detail: $detail}'
    done
    ( clean_up ) 3>/dev/null 4>/dev/null >/dev/null 2>&1
    exit $failed
}
