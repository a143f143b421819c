# Sourced by tests/end_*.sh, which drive the vario program from outside. Usage of each:
#   tests/end_NAME.sh PROGRAM        (VARIO_END=short: a smaller selection, for sanitized builds)
# shellcheck shell=bash
# shellcheck disable=SC2034  # variables set here are for the scripts that source this file

[ $# -ge 1 ] || { echo "usage: $0 PROGRAM" >&2; exit 2; }
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
[ -x "$program" ] || { echo "$0: $program is no program" >&2; exit 2; }

# shellcheck source=scripts/mpi-env
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/mpi-env"
export OMPI_MCA_hwloc_base_binding_policy=none # two cases of a script may run side by side
export OMP_NUM_THREADS=1 LC_ALL=C
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" # Open MPI itself leaks
unset SLURM_JOB_END_TIME SLURM_STEP_NUM_TASKS SLURM_PROCID

short=${VARIO_END:-full}
[ "$short" = short ] && is_short=true || is_short=false
patience=120 # seconds that one launch may take
passed=0
failed=0

work=$(mktemp -d "${TMPDIR:-/tmp}/vario-end.XXXXXX")
clean_up() { end_servers; rm -rf "$work"; }
trap clean_up EXIT
for name in INT TERM HUP; do
    # shellcheck disable=SC2064
    trap "echo 'FAILED: ended by SIG$name'; exit 1" $name
done
cd "$work" || exit 1
export OMPI_MCA_orte_tmpdir_base=$work # killed launches leave their session directories
export XDG_CACHE_HOME=$work/cache # a run measures what the processors can do, and remembers it

# check NAME COMMAND...: count one test.
check()
{
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        [ ! -s "$work/last.out" ] || sed 's/^/    stdout: /' "$work/last.out" | tail -n 20
        [ ! -s "$work/last.err" ] || sed 's/^/    stderr: /' "$work/last.err" | tail -n 20
    fi
}

# refuse NAME PATTERN ARGUMENT...: exit code 2 and one sentence.
refuse()
{
    local name=$1 pattern=$2
    shift 2
    one "$@"
    check "$name: exit code" exits 2
    check "$name: one sentence" same "$(wc -l <last.err)" 1
    check "$name: says why" grep -qE "^vario: .*$pattern" last.err
}

# The script's last command.
finish()
{
    end_servers
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# Where a script says served=true, `launch` and `one` ask a server (tests/served.c) that runs the program
# without starting it anew. `started` always starts it; so does what sets environment or limits.
served=false
server=$(dirname "$program")/tests/served
declare -A server_pid=() server_in=() server_out=()

# begin_server RANKS: 1 is one process without mpirun, as `one` has it.
begin_server()
{
    local ranks=$1 rank to directory=$work/served-$1
    rm -rf "$directory" && mkdir "$directory" && mkfifo "$directory/from"
    server_in[$ranks]=""
    for ((rank = 0; rank < ranks; rank++)); do
        mkfifo "$directory/to.$rank"
        exec {to}<>"$directory/to.$rank"
        server_in[$ranks]+="$to "
    done
    exec {to}<>"$directory/from"
    server_out[$ranks]=$to
    local command=("$server" "$directory")
    [ "$ranks" -eq 1 ] || command=(mpirun -n "$ranks" "${command[@]}")
    "${command[@]}" >"$directory/out" 2>"$directory/err" </dev/null &
    server_pid[$ranks]=$!
}

# end_server RANKS [SIGNAL]
end_server()
{
    local to
    for to in ${server_in[$1]} ${server_out[$1]}; do
        [ -n "${2:-}" ] || printf '\4\0' >&"$to"
        exec {to}>&-
    done
    if [ -n "${2:-}" ]; then
        for to in "$work/served-$1"/pid.*; do kill -"$2" "$(cat "$to")" 2>/dev/null || true; done
        kill -"$2" "${server_pid[$1]}" 2>/dev/null || true
    fi
    wait "${server_pid[$1]}" 2>/dev/null || true
    unset "server_pid[$1]"
}

end_servers()
{
    local ranks
    for ranks in "${!server_pid[@]}"; do end_server "$ranks"; done
}

# ask RANKS ARGUMENT...: as launch does
ask()
{
    local ranks=$1 to end=$((SECONDS + patience))
    shift
    [ -n "${server_pid[$ranks]:-}" ] || begin_server "$ranks"
    : >"$work/last.out" && : >"$work/last.err"
    for to in ${server_in[$ranks]}; do
        printf '%s\0' "$PWD" "$work/last.out" "$work/last.err" "$@" $'\4' >&"$to"
    done
    until read -r -t 1 -u "${server_out[$ranks]}" code; do
        if ! running "${server_pid[$ranks]}"; then
            code=1 && wait "${server_pid[$ranks]}" || code=$?
            cat "$work/served-$ranks/err" >>"$work/last.err"
            end_server "$ranks" KILL
            return
        elif [ $SECONDS -ge $end ]; then
            code=124
            end_server "$ranks" KILL
            return
        fi
    done
}

# launch RANKS ARGUMENT...: run the program, output in last.out and last.err, exit code in $code.
# The program is never waited for longer than $patience: 124 then.
code=0
launch()
{
    if $served; then ask "$@"; else started "$@"; fi
}

started()
{
    local ranks=$1
    shift
    code=0
    timeout --kill-after=10 "$patience" mpirun -n "$ranks" "$program" "$@" \
        >"$work/last.out" 2>"$work/last.err" </dev/null || code=$?
}

# one ARGUMENT...: the same without mpirun.
one()
{
    if $served; then
        ask 1 "$@"
        return
    fi
    code=0
    timeout --kill-after=10 "$patience" "$program" "$@" \
        >"$work/last.out" 2>"$work/last.err" </dev/null || code=$?
}

exits() { [ "$code" -eq "$1" ] || { echo "    exit code $1 expected, $code found"; false; }; }

# Text with words, sentences and lines, the same everywhere; about BYTES long.
make_text()
{
    awk -v bytes="$1" 'BEGIN {
        count = split("the of and a to in he was that his it had with as for on at by not but " \
                      "which from she they were sea ship wind captain whale night water again " \
                      "under old white hand never over little long time", word, " ")
        x = 12345
        for (written = 0; written < bytes; ) {
            length_of = 4 + x % 9
            line = ""
            for (i = 0; i < length_of; i++) {
                x = (x * 16807) % 2147483647
                next_word = word[1 + int(x / 65536) % (x % 3 ? count : 12)]
                line = line (i ? " " : "") next_word
            }
            print toupper(substr(line, 1, 1)) substr(line, 2) "."
            written += length(line) + 2
        }
    }'
}

# data/train.bin and data/val.bin, with `vario prepare`.
make_data()
{
    make_text "${1:-10000}" >text.txt
    one prepare text.txt --out data
    if [ "$code" -ne 0 ] || [ ! -s data/train.bin ] || [ ! -s data/val.bin ]; then
        echo "vario prepare failed with $code:"
        cat last.out last.err
        exit 1
    fi
}

# write_job FILE NAME [OPTIMIZER]: a run of seconds, with uneven work for every launch size and
# more than one epoch of data.
write_job()
{
    local settings='{kind: ivon, ess: 1.0e+6, hessian_init: 1.0e-3, beta2: 0.999, weight_decay: 1.0e-4}'
    local peak=2.0
    if [ "${3:-ivon}" = adamw ]; then
        settings='{kind: adamw, beta2: 0.99, weight_decay: 0.1}'
        peak=1.0e-3
    fi
    cat >"$1" <<EOF
name: $2
seed: 7
output: $work/runs
model: {kind: gpt2, n_layer: 2, n_head: 2, n_embd: 32, block_size: 32, vocab_size: 256}
data: {train: $work/data/train.bin, valid: $work/data/val.bin}
batch: {sequences: 2, length: 32, microbatches: 5}
steps: 50
optimizer: $settings
schedule: {kind: cosine, peak: $peak, warmup: 5}
clip: {norm: 1.0, scope: microbatch}
parallel: {threads: 1}
eval: {every: 25, batches: 8}
checkpoint: {every: 10, keep: 3}
log: {every: 10}
EOF
}

# last_checkpoint NAME: the newest checkpoint's directory, "" when there is none.
last_checkpoint()
{
    local found="" step
    for step in "$work/runs/$1"/step-*; do [ ! -d "$step" ] || found=$step; done
    echo "$found"
}

# bits NAME: one hash of the tensors of a run's last checkpoint, with its step.
bits()
{
    local directory
    directory=$(last_checkpoint "$1")
    [ -n "$directory" ] || { echo "no checkpoint of $1"; return; }
    (cd "$directory" && basename "$directory" && sha256sum ./*.safetensors) | sha256sum | cut -c1-16
}

# column NAME COLUMN: that column of metrics.csv, one value a line.
column()
{
    awk -F, -v wanted="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == wanted) at = i; next }
                            at { print $at }' "$work/runs/$1/metrics.csv"
}

# logged NAME: how many lines metrics.csv has by now.
logged() { { cat "$work/runs/$1/metrics.csv" 2>/dev/null || true; } | wc -l; }

# near A B TOLERANCE: relative.
near()
{
    awk -v a="$1" -v b="$2" -v most="$3" 'BEGIN {
        d = a - b; if (d < 0) d = -d
        s = a < 0 ? -a : a
        exit !(a != "" && b != "" && d <= most * s) }' ||
        { echo "    $1 and $2 differ by more than $3"; false; }
}

same() { [ "$1" = "$2" ] || { echo "    $2 expected, $1 found"; false; }; }

# resumed_step NAME: the last step above 0 that the run says it went on from, "" for none.
resumed_step() { sed -n 's/.*resumed from step \([1-9][0-9]*\).*/\1/p' "$work/last.out" "$work/last.err" | tail -n 1; }

# running PID: whether it runs, zombies not counted.
running()
{
    local state
    state=$(ps -o stat= -p "$1" 2>/dev/null) || return 1
    case $state in Z*) return 1 ;; esac
}

# ended PID SECONDS: wait until it no longer runs; false when it still does.
ended()
{
    local left=$(($2 * 20))
    while running "$1"; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.05
    done
}
