# Sourced by the batch scripts: how ranks are started, stopped and started again. What is special to a
# site is set by env.sh in the same directory, if there is one, or in the environment of sbatch:
#   VARIO               the program, with words before it if need be (build/release/vario)
#   VARIO_LAUNCH        what starts ranks (srun --mpi=pmix, or mpirun where srun has no PMIx)
#   VARIO_MAX_REQUEUES  requeues in a row without a new step after which a job ends (3)
# shellcheck shell=bash
slurm=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
shell_options=$-
set +eu # modules' own functions are not written for them
# shellcheck disable=SC1091
[ ! -r "$slurm/env.sh" ] || . "$slurm/env.sh"
[[ $shell_options != *e* ]] || set -e
[[ $shell_options != *u* ]] || set -u
max_requeues=${VARIO_MAX_REQUEUES:-3}
vario=("${VARIO:-${slurm%/*}/build/release/vario}")
[ -f "${vario[0]}" ] || read -r -a vario <<<"${vario[0]}" # several words

# srun does not know --cpus-per-task of sbatch. mpirun gets SIGTERM from scancel, passes it on so many
# seconds later, and kills its ranks after as many more: before SLURM does (KillWait, 30 seconds).
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
export OMPI_MCA_odls_base_sigkill_timeout=10

if [ -n "${VARIO_LAUNCH:-}" ]; then
    read -r -a launch <<<"$VARIO_LAUNCH"
elif srun --mpi=list 2>&1 | grep -q pmix; then
    launch=(srun --mpi=pmix)
else
    launch=(mpirun --bind-to none)
fi

say() { echo "$(date +%FT%T) job ${SLURM_JOB_ID:-none}: $*"; }

# USR1 means: save, and run again; it comes before the time limit. TERM means: save, and end.
signal=""
on_signal()
{
    signal=$1
    say "SIG$1: ranks save a checkpoint"
}
if [ -n "${SLURM_JOB_ID:-}" ]; then
    trap 'on_signal USR1' USR1
    trap 'on_signal TERM' TERM
fi

# Open MPI's mpirun can wait for ever at its own end, when a rank was killed: its ranks, and what it
# started them with on other nodes, have gone by then. So many naps of 5 seconds without any, and it is
# killed, too.
patience_mpirun=6
has_children() { ps -o stat= --ppid "$1" | grep -qv '^Z'; }

# run ARGUMENT...: vario on all ranks; returns its exit code.
run()
{
    if [ -n "$signal" ]; then
        say "SIG$signal came before the ranks: a --time beyond what --signal takes of it expected"
        exit 75
    fi
    local ranks nap alone="" # naps since mpirun lost the last of its children
    "${launch[@]}" "${vario[@]}" "$@" &
    ranks=$!
    # srun and mpirun pass USR1 on to the ranks, but not while they start them: it is said again.
    while kill -0 "$ranks" 2>/dev/null; do
        [ -z "$signal" ] || kill -USR1 "$ranks" 2>/dev/null
        if has_children "$ranks"; then
            alone=0
        elif [ -n "$alone" ] && [[ ${launch[0]##*/} = mpirun ]]; then
            alone=$((alone + 1))
            [ "$alone" -le $patience_mpirun ] || { say "mpirun stays behind its ranks: killed"; kill -KILL "$ranks"; }
        fi
        sleep 5 &
        nap=$!
        wait -n "$ranks" "$nap" # a signal ends it, too
        kill "$nap" 2>/dev/null
    done
    wait "$ranks"
}

# resolved JOB.yaml [ARGUMENT...]: the whole job as YAML, with defaults and what its --set change.
resolved()
{
    local one=()
    [ -z "${SLURM_JOB_ID:-}" ] || one=("${launch[@]}" -N 1 -n 1)
    "${one[@]}" "${vario[@]}" train "$@" --dry-run
}

# value_of KEY: what a resolved job on standard input says.
value_of() { sed -n "s/^ *$1: \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" | head -n 1; }

# directory_of: the run that a resolved job on standard input has, as no program takes for an option.
directory_of()
{
    local job output
    job=$(cat)
    output=$(value_of output <<<"$job")
    [ "${output#/}" != "$output" ] || output=./$output
    echo "$output/$(value_of name <<<"$job")"
}

# stalled: whether the run's last stops, one more than it may be requeued, were all at one step.
stalled()
{
    grep '"event": "stopped"' "$directory/events.jsonl" | tail -n $((max_requeues + 1)) | sed 's/.*"step"//' |
        uniq -c | awk -v most="$max_requeues" 'END { exit !($1 > most) }'
}

# finished: whether the run says that it came to its end, or to its --until; srun may end with 0 when it lost a node.
finished()
{
    [ "$directory" != .// ] || return 0 # nobody knows
    grep -oE '"event": "(started|resumed|stopped|finished|paused)"' "$directory/events.jsonl" 2>/dev/null |
        tail -n 1 | grep -qE 'finished|paused'
}

# saved_since SECONDS: whether the run has a checkpoint that is younger.
saved_since() { find "$directory" -maxdepth 1 -name 'step-*' -newermt "@$1" 2>/dev/null | grep -q .; }

requeue()
{
    local id=$SLURM_JOB_ID # of an array's last task it is the id of the whole array
    [ -z "${SLURM_ARRAY_TASK_ID:-}" ] || id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    say "queued again, to go on from the checkpoint"
    for _ in 1 2 3 4 5; do
        scontrol requeue "$id" && return
        sleep 5
    done
}

# nodes_answer: whether all nodes of the job can still start a process.
nodes_answer()
{
    timeout 60 srun --mpi=none --overlap --mem=0 --nodes="$SLURM_JOB_NUM_NODES" \
        --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 true 2>/dev/null
}

# stopped: what is to be done after exit code 75.
stopped()
{
    [ "$signal" != TERM ] || return
    if stalled; then
        say "$directory: $max_requeues requeues brought no new step, not queued again:" \
            "a longer --time, or a --signal that comes later, expected"
    else
        requeue
    fi
}

# lost CODE BEGAN: what is to be done when ranks that were started then ended as vario itself does not.
lost()
{
    [ -z "$signal" ] || return
    if ! nodes_answer; then
        # SLURM queues the job again once it knows that a node is lost, if the job still runs then.
        say "code $1: a node does not answer, waiting for SLURM to notice"
        sleep 600
    elif saved_since "$2"; then
        say "code $1: the ranks were lost, after a new checkpoint"
        requeue
    else
        say "code $1: the ranks were lost without a new checkpoint, not queued again"
    fi
}

# train JOB.yaml [ARGUMENT...]: `vario train`, queued again when it was stopped before its end.
# Ends the script with vario's exit code, or 1 where ranks were lost and the code was 0.
train()
{
    local code=0 began
    began=$(date +%s)
    run train "$@" || code=$?
    # USR1 ends a process that has just been started.
    [ "$code" -ne 138 ] || [ "$signal" != USR1 ] || code=75
    case $code in 2 | 3) exit "$code" ;; esac
    directory=$(resolved "$@" 2>/dev/null | directory_of)
    [ "$code" -ne 0 ] || finished || code=1
    case $code in
        0) ;;
        75) stopped ;;
        *) lost "$code" "$began" ;;
    esac
    exit "$code"
}
