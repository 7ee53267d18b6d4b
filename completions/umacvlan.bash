# bash completion for umacvlan. What may come next is known to umacvlan itself: this only asks it.

_umacvlan() {
    local line=${COMP_LINE:0:COMP_POINT} found=() words=() candidate
    # Not COMP_WORDS: bash splits them at every : and =, of which addresses and options have some.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    local last=${words[-1]}
    mapfile -t found < <("$1" __complete "${words[@]:1}" 2>/dev/null)

    if [[ ${found[0]-} == :file ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "${last#*=}")
        return
    fi
    # Bash puts the candidate in the place of what follows the last : or =.
    local kept=${last%"${last##*[:=]}"}
    COMPREPLY=()
    for candidate in "${found[@]%%$'\t'*}"; do
        COMPREPLY+=("${candidate#"$kept"}")
        [[ $candidate == *= ]] && compopt -o nospace 2>/dev/null
    done
    return 0
} && complete -F _umacvlan umacvlan
