#!/usr/bin/env bash
# The batch scripts on a real SLURM, which is started on this machine: runs that are interrupted, by a
# signal, a time limit, scancel or the loss of a node, end with the bits of a run that nobody
# disturbed. Scenarios that wait for SLURM's clocks run beside the others.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/*}
skip() { echo "SKIPPED: end_slurm: $*"; exit 77; }
export PATH=$PATH:/usr/sbin
[ "$(id -u)" -eq 0 ] || skip "only root can start a SLURM"
for tool in munged slurmctld slurmd sbatch; do
    command -v $tool >/dev/null || skip "$tool is not installed (scripts/install --tests)"
done
# shellcheck source=tests/end_common.bash
. "$here/end_common.bash"
# shellcheck source=tests/slurm_cluster.bash
. "$here/slurm_cluster.bash"
trap 'cluster_stop; clean_up' EXIT
cluster_start || { echo "FAILED: no SLURM"; tail -n 20 "$cluster"/*.log; exit 1; }
export VARIO=$program
patience=300

# fact ID KEY: of a job, as scontrol shows it.
fact() { scontrol show job "$1" | sed -n "s/.*\<$2=\([^ ]*\).*/\1/p" | head -n 1; }
over() { [[ $(fact "$1" JobState) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)$ ]]; }

# submit NAME [SBATCH_OPTION...]: the job as the run NAME on two nodes; its number in $id_NAME.
steps=250
extra=()
scripts=$root/slurm
id_cancelled="" id_interrupted=""
submit()
{
    local name=$1
    shift
    declare -g "id_$name=$(sbatch --parsable --nodes=2 --ntasks-per-node=1 --output="$work/$name.log" \
        "$@" "$scripts/train.sbatch" job.yaml --set "name=$name" --set "steps=$steps" "${extra[@]}")"
}

steps_on() { [ "$(logged "$1")" -gt "$2" ]; }
says() { [ "$(grep -cE -e "$2" "$work/$1.log")" -ge "${3:-1}" ]; }
ranks_of() { pgrep -f "^$program train .*name=$1( |\$)"; }
no_ranks_of() { ! ranks_of "$1"; }

# wait_for NAME COMMAND...: at most $patience seconds; what the job said when it takes longer.
wait_for()
{
    local name=$1
    shift
    soon "$patience" "$@" && return
    echo "    $name: '$*' did not come true"
    sed 's/^/    log: /' "$work/$name.log" | tail -n 20
    false
}

# signal NAME SIGNAL: to the batch script, once steps are made that nobody has saved.
signal()
{
    local id=id_$1
    wait_for "$1" steps_on "$1" 3 && scancel --batch --signal="$2" "${!id}"
}

# ended_as NAME STATE CODE RESTARTS; "" is any.
ended_as()
{
    local id=id_$1 code restarts
    wait_for "$1" over "${!id}" && same "$(fact "${!id}" JobState)" "$2" || return 1
    code=$(fact "${!id}" ExitCode)
    restarts=$(fact "${!id}" Restarts)
    same "$code" "${3:-$code}" && same "$restarts" "${4:-$restarts}"
}

undisturbed_bits()
{
    same "$(bits "$1")" "$expected" && same "$(column "$1" step)" "$(column whole step)"
}

# shellcheck disable=SC2119
make_data
write_job job.yaml whole
sed -i 's/^checkpoint:.*/checkpoint: {every: 50, margin_seconds: 0}/' job.yaml

submit whole
check "a job runs to its end" ended_as whole COMPLETED 0:0 0
check "on two nodes" grep -q '"ranks": 2' runs/whole/events.jsonl
expected=$(bits whole)
last=$(basename "$(last_checkpoint whole)")

# These wait for SLURM's clocks: a time limit, a node that does not answer, requeues.
submit interrupted --time=1 --signal=B:USR1@20
# hold NAME: stop its ranks once there is a checkpoint.
hold()
{
    local stopped
    wait_for "$1" has_checkpoint "$1" && mapfile -t stopped < <(ranks_of "$1") && kill -STOP "${stopped[@]}"
}
has_checkpoint() { [ "$(last_checkpoint "$1")" != "" ]; }
submit bereaved --partition=frail
hold bereaved &
held_bereaved=$!
VARIO_LAUNCH=mpirun submit orphaned --partition=frail
hold orphaned &
held_orphaned=$!
extra=(--set checkpoint.margin_seconds=1000000)
SLURM_JOB_END_TIME=$(date +%s) VARIO_MAX_REQUEUES=2 submit stuck --time=5
extra=()

check "interrupted: scancel --signal" signal interrupted USR1

# node_dies NODE: its daemon and whatever jobs run there, at once.
node_dies()
{
    local process victims
    victims=$(process_of "$1")
    for process in $(of_cluster | xargs grep -lszx "SLURMD_NODENAME=$1" | cut -d / -f 3); do
        victims+=" $process $(pgrep -x slurmstepd | grep -x "$(ps -o ppid= -p "$process" | tr -d ' ')")"
    done
    # shellcheck disable=SC2086
    kill -KILL $victims
}
check "bereaved: has a checkpoint" wait "$held_bereaved"
check "orphaned: has a checkpoint" wait "$held_orphaned"
check "a node dies" node_dies n2

# The second restart stands still until its time limit comes near.
check "interrupted: goes on" wait_for interrupted says interrupted "resumed from step"
mapfile -t paused < <(ranks_of interrupted)
check "interrupted: stands still" kill -STOP "${paused[@]}"
{ wait_for interrupted says interrupted SIGUSR1 2 && kill -CONT "${paused[@]}"; } &

# A launcher that loses the ranks and does not say so.
cat >"$work/losing" <<'END'
#!/bin/bash
case " $* " in *" --dry-run "*) exec "${@:5}" ;; esac
END
chmod +x "$work/losing"
VARIO_LAUNCH=$work/losing submit lost
check "lost: code 0 of the launcher is not believed" ended_as lost FAILED 1:0 0
check "lost: says so" says lost "the ranks were lost without a new checkpoint"

# An mpirun whose ranks are killed, and which does not end then; the next one is as it should be.
mkdir "$work/bin"
cat >"$work/bin/mpirun" <<END
#!/bin/bash
mpirun=$(command -v mpirun)
case " \$* " in *" --dry-run "*) exec "\$mpirun" "\$@" ;; esac
[ ! -e $work/stayed ] || exec "\$mpirun" "\$@"
touch $work/stayed
"\$mpirun" "\$@" &
until compgen -G "$work/runs/staying/step-*" >/dev/null; do sleep 0.1; done
pkill -KILL -f "^$program train .*name=staying( |\$)"
wait
mkfifo $work/never && read -r <$work/never
END
chmod +x "$work/bin/mpirun"
VARIO_LAUNCH=$work/bin/mpirun submit staying --nodes=1 --ntasks-per-node=2

VARIO_LAUNCH="srun --mpi=none" submit scattered
check "N worlds of one are refused" ended_as scattered FAILED 2:0 0
check "in one sentence" same "$(grep -c '^vario: ' scattered.log)" 1
check "and leave nothing" test ! -e runs/scattered
scripts=$work/site/slurm
mkdir -p "$scripts"
cp "$root"/slurm/*.sbatch "$root/slurm/common.bash" "$scripts"
cluster_without_pmix >"$scripts/env.sh"
submit mpirun
scripts=$root/slurm
check "without PMIx: env.sh is read and mpirun starts two nodes" signal mpirun USR1
check "without PMIx: checkpoint, requeue, end" ended_as mpirun COMPLETED 0:0 1
check "without PMIx: it was mpirun" says mpirun "mpirun detected"
check "without PMIx: the same bits" undisturbed_bits mpirun

check "staying: mpirun is killed, and the run goes on" ended_as staying COMPLETED 0:0 1
check "staying: says so" says staying "mpirun stays behind its ranks: killed"
check "staying: the same bits" undisturbed_bits staying

submit cancelled
check "cancelled: scancel --signal=TERM" signal cancelled TERM
check "cancelled: saves and is not queued again" ended_as cancelled FAILED 75:0 0
submit cancelled
check "cancelled: scancel" wait_for cancelled says cancelled "resumed from step"
scancel "$id_cancelled"
check "cancelled: ends" ended_as cancelled CANCELLED "" 0
check "cancelled: with a checkpoint" test "$(last_checkpoint cancelled)" != ""
check "cancelled: no rank stays" wait_for cancelled no_ranks_of cancelled
submit cancelled
check "cancelled: submitted again, ends" ended_as cancelled COMPLETED 0:0 0
check "cancelled: the same bits" undisturbed_bits cancelled

# The array's last task has the array's own number: requeues must not reach the others.
id_sweep=$(sbatch --parsable --array=0-3 --ntasks=2 --output="$work/sweep-%a.log" \
    "$root/slurm/sweep.sbatch" job.yaml seed=7,8 schedule.peak=1.0,2.0 "steps=$steps")
swept() { echo "whole-seed=$1-schedule.peak=$2-steps=$steps"; }
check "sweep: the last task stops" wait_for sweep-3 steps_on "$(swept 8 2.0)" 3
scancel --batch --signal=USR1 "${id_sweep}_3"
for task in 0 1 2 3; do
    declare "id_sweep_$task=${id_sweep}_$task"
    check "sweep: task $task" ended_as "sweep_$task" COMPLETED 0:0 $((task / 3))
done
check "sweep: a run for each choice" test -d "runs/$(swept 7 1.0)/$last" -a -d "runs/$(swept 8 1.0)/$last" \
    -a -d "runs/$(swept 7 2.0)/$last" -a -d "runs/$(swept 8 2.0)/$last"
check "sweep: seed 7 with peak 2.0 is the job" same "$(bits "$(swept 7 2.0)")" "$expected"
check "sweep: others are others" test "$(bits "$(swept 8 1.0)")" != "$expected"

# Two tasks with one folder; what the one that is signalled had is made by the other, or in its next start.
id_tune=$(sbatch --parsable --array=0-1 --cpus-per-task=1 --output="$work/tune-%a.log" "$root/slurm/tune.sbatch" job.yaml \
    --key schedule.peak=0.5,1.0,2.0 --halving 1 --jobs 1 --set "steps=$steps" --best "$work/best.yaml")
tuned_more() { [ "$(cat runs/whole-tune/*/metrics.csv 2>/dev/null | wc -l)" -gt "$1" ]; }
check "tune: runs go on" wait_for tune-1 tuned_more 10
scancel --batch --signal=USR1 "${id_tune}_1" || true # it may not run yet, or no more
for task in 0 1; do
    declare "id_tune_$task=${id_tune}_$task"
    check "tune: task $task" ended_as "tune_$task" COMPLETED 0:0 ""
done
check "tune: every run begins once" same "$(cat runs/whole-tune/*/events.jsonl | grep -c '"event": "started"')" 3
check "tune: the best job" test -s best.yaml
check "tune: peak 2.0 is the job" same "$(bits whole-tune/02-peak=2.0)" "$expected"

"$root/slurm/scaling.sh" job.yaml "1 2" --ntasks-per-node=2 >last.out 2>last.err || true
table=runs/whole-scaling/scaling.csv
check "scaling: a row for each study and number of nodes" same "$(cut -d, -f 1-4 $table | tail -n +2 | tr '\n' ' ')" \
    "strong,1,2,320 strong,2,4,320 weak,1,2,320 weak,2,4,640 "
positive() { tail -n +2 "$1" | awk -F, '$5 <= 0 || $6 <= 0 || $8 <= 0 || $9 <= 0 { bad = 1 } END { exit bad }'; }
check "scaling: speeds and efficiencies" positive $table
check "scaling: a figure" test "$(head -c 4 runs/whole-scaling/scaling.png | tail -c 3)" = PNG

check "stuck: 2 requeues without a step, and no more" ended_as stuck FAILED 75:0 2
check "stuck: says why" says stuck "2 requeues brought no new step"

for name in bereaved orphaned; do
    check "$name: queued again, ends" ended_as $name COMPLETED 0:0 1
    check "$name: went on from a checkpoint" says $name "resumed from step"
    check "$name: the same bits" undisturbed_bits $name
done

check "interrupted: ends" ended_as interrupted COMPLETED 0:0 ""
check "interrupted: by scancel and by the time limit" says interrupted "SIGUSR1" 2
check "interrupted: queued again each time" same "$(fact "$id_interrupted" Restarts)" \
    "$(grep -c '"event": "stopped"' runs/interrupted/events.jsonl)"
check "interrupted: the same bits" undisturbed_bits interrupted
finish
