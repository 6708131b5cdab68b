# bash completion of cusp: commands and flags are read from its own help, so that they are never out of date.
# make install puts this where bash-completion looks; without it: source contrib/cusp.bash

# The words that begin the lines of a command's list ("  create       submit a job").
_cusp_verbs() {
    "$1" help "${@:2}" 2>/dev/null | sed -n 's/^  \(cusp \)\{0,1\}\([a-z][a-z-]*\) .*/\2/p'
}

_cusp_flags() {
    "$1" help "${@:2}" 2>/dev/null | grep -oE -- '(^|[^A-Za-z0-9-])--[a-z][a-z-]*=?' | sed 's/^[^-]*//' | sort -u
}

_cusp() {
    local cur=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]} words=() i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -* | =) ;; # a flag, or what readline cut off one
        *) [ "${COMP_WORDS[i - 1]}" = = ] || words+=("${COMP_WORDS[i]}") ;;
        esac
    done
    COMPREPLY=()
    case $cur in
    -*)
        mapfile -t COMPREPLY < <(compgen -W "$(_cusp_flags "$program" "${words[@]:0:2}")
            --project= --region= --endpoint= --format= --quiet --help" -- "$cur")
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
        ;;
    *)
        if [ ${#words[@]} -lt 2 ]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_cusp_verbs "$program" "${words[@]}")" -- "$cur")
        fi
        ;;
    esac
} && complete -o default -F _cusp cusp
