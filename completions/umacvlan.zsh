#compdef umacvlan
# zsh completion for umacvlan. What may come next is known to umacvlan itself: this only asks it.

_umacvlan() {
    local -a found described
    local line word
    found=("${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $found[1] == :file ]]; then
        _files
        return
    fi
    for line in $found; do
        word=${line%%$'\t'*}
        # A colon ends the word for _describe.
        described+=("${word//:/\\:}${${line#$word}/$'\t'/:}")
    done
    _describe -V umacvlan described
}

_umacvlan "$@"
