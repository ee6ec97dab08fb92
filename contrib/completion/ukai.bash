# bash completion for ukai(8). Commands and options are what the program itself lists with --help, so they cannot fall
# behind it; ids and addresses of tunnels are asked of the running daemon, names of listeners read from the configuration.

# Lines of `ukai --help` that name a command, and the options that the help of one command names.
_ukai_commands() {
    "$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  *[^ ].*/\1/p'
}

_ukai_options() {
    { echo --help; "$1" "$2" --help 2>/dev/null | grep -oE -- '(^|[[ ])--?[a-z][a-z-]*' | tr -d '[ '; } |
        grep -xE -- '-c|--[a-z-]+' | sort -u
}

_ukai_tunnels() { # program, and the options that say which daemon
    timeout 2 "$1" tunnels --json "${@:2}" 2>/dev/null |
        sed -nE 's/^\{"id":"([0-9.]+)","src":"([0-9a-fA-F.:]+)".*/\1\n\2/p' | sort -u
}

_ukai_listeners() { # file
    sed -nE 's/^\[(web-proxy|dns) +([^] ]+) *\].*/\2/p' "${1:-/etc/ukai/ukai.conf}" 2>/dev/null
}

_ukai() {
    local cur prev words cword command config= word i
    local -a place=()
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n : cur prev words cword
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    fi
    COMPREPLY=()
    if ((cword == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$(_ukai_commands "${words[0]}") --help --version" -- "$cur")
        return
    fi
    command=${words[1]}
    for ((i = 2; i + 1 < ${#words[@]}; i++)); do
        case ${words[i]} in
        -c | --config) config=${words[i + 1]} place+=(-c "$config") ;;
        --socket) place+=(--socket "${words[i + 1]}") ;;
        esac
    done
    case $prev in
    -c | --config | --socket) word=$(compgen -f -- "$cur") ;;
    --listener) word=$(compgen -W "$(_ukai_listeners "$config")" -- "$cur") ;;
    --sort) word=$(compgen -W "rate bytes age source" -- "$cur") ;;
    --format)
        case $command in
        export) word=$(compgen -W "nftables nifcloud-json" -- "$cur") ;;
        *) word=$(compgen -W "nifcloud-json nifcloud-xml terraform-json iptables" -- "$cur") ;;
        esac
        ;;
    --from | --group | --interval | --workers) return ;;
    *)
        case $command:$cur in
        *:-*) word=$(compgen -W "$(_ukai_options "${words[0]}" "$command")" -- "$cur") ;;
        log:*) word=$(compgen -W "error warning notice info debug" -- "$cur") ;;
        kill:*) word=$(compgen -W "$(_ukai_tunnels "${words[0]}" "${place[@]}")" -- "$cur") ;;
        explain:*) word=$(compgen -W "CONNECT GET DNS DNS/tcp" -- "$cur") ;;
        import:* | diff:*) word=$(compgen -f -- "$cur") ;;
        *) word=$(compgen -W "$(_ukai_options "${words[0]}" "$command")" -- "$cur") ;;
        esac
        ;;
    esac
    [[ -n $word ]] && mapfile -t COMPREPLY <<<"$word"
    case $prev:$command in
    -c:* | --config:* | --socket:* | *:import | *:diff) compopt -o filenames 2>/dev/null ;;
    esac
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$cur"
    fi
}

complete -F _ukai ukai
