# fish completion for ukai(8); see ukai.bash for where the words come from.

function __ukai_words
    commandline -opc
end

function __ukai_commands
    ukai --help 2>/dev/null | string replace -rf '^  ([a-z][a-z-]*) +([^ ].*)' '$1\t$2'
end

function __ukai_options
    set -l words (__ukai_words)
    echo --help
    ukai $words[2] --help 2>/dev/null | string match -ra -- '(?<=^|[[ ])(?:-c|--[a-z][a-z-]*)(?![a-z-])'
end

# What follows -c, --config or --socket, as it was given.
function __ukai_place
    set -l words (__ukai_words)
    for i in (seq 3 (count $words))
        contains -- $words[$i] -c --config --socket; and set -q words[(math $i + 1)]; and printf '%s\n' $words[$i] $words[(math $i + 1)]
    end
end

function __ukai_listeners
    set -l file /etc/ukai/ukai.conf
    set -l place (__ukai_place)
    set -q place[2]; and string match -q -- '-c*' $place[1] '--config' $place[1]; and set file $place[2]
    string replace -rf '^\[(?:web-proxy|dns) +([^] ]+) *\].*' '$1' <$file 2>/dev/null
end

function __ukai_tunnels
    timeout 2 ukai tunnels --json (__ukai_place) 2>/dev/null |
        string replace -rf '^\{"id":"([0-9.]+)","src":"([0-9a-fA-F.:]+)".*' '$1\n$2' | string split '\n' | sort -u
end

function __ukai_is -a command
    set -l words (__ukai_words)
    test (count $words) -ge 2; and test $words[2] = $command
end

function __ukai_after
    set -l words (__ukai_words)
    contains -- $words[-1] $argv
end

function __ukai_needs_value
    __ukai_after -c --config --socket --listener --sort --format --from --group --interval --workers
end

complete -c ukai -f
complete -c ukai -n 'test (count (__ukai_words)) -eq 1' -a '(__ukai_commands)'
complete -c ukai -n 'test (count (__ukai_words)) -ge 2; and not __ukai_needs_value' -a '(__ukai_options)'
complete -c ukai -n '__ukai_after -c --config --socket' -F
complete -c ukai -n '__ukai_after --listener' -a '(__ukai_listeners)'
complete -c ukai -n '__ukai_after --sort' -a 'rate bytes age source'
complete -c ukai -n '__ukai_after --format; and __ukai_is export' -a 'nftables nifcloud-json'
complete -c ukai -n '__ukai_after --format; and not __ukai_is export' -a 'nifcloud-json nifcloud-xml terraform-json iptables'
complete -c ukai -n '__ukai_is log; and not __ukai_needs_value' -a 'error warning notice info debug'
complete -c ukai -n '__ukai_is explain; and not __ukai_needs_value' -a 'CONNECT GET DNS DNS/tcp'
complete -c ukai -n '__ukai_is kill; and not __ukai_needs_value' -a '(__ukai_tunnels)'
complete -c ukai -n 'not __ukai_needs_value; and begin; __ukai_is import; or __ukai_is diff; end' -F
