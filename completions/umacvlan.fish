# fish completion for umacvlan. What may come next is known to umacvlan itself: this only asks it.

function __umacvlan_candidates
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l last (commandline --current-token --cut-at-cursor)
    set -l found (command $words[1] __complete $words[2..-1] "$last" 2>/dev/null)
    if test "$found[1]" = :file
        __fish_complete_path "$last"
    else
        printf '%s\n' $found
    end
end

complete --command umacvlan --no-files --arguments '(__umacvlan_candidates)'
