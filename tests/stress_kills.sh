#!/usr/bin/env bash
# Kills at random moments: of one rank, some, all, or mpirun itself, some of them while a checkpoint is
# being written; each restart goes on on another number of ranks. What it leaves has the files of a run that
# nobody disturbed (sha256), and nothing hangs. Not part of ctest: hundreds of kills take as many
# seconds.
#   tests/stress_kills.sh PROGRAM [COUNT]       (300; VARIO_SEED repeats a sequence of moments)
# Prints a tally; ends with 0 where all was as it should be.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

count=${2:-300}
patience_kill=60 # seconds within which every process of a killed launch has ended
seed=${VARIO_SEED:-$(($(date +%s) % 32768))}
RANDOM=$seed
echo "VARIO_SEED=$seed"

make_data
write_job job.yaml undisturbed
sets=(--set steps=120 --set checkpoint.every=4 --set checkpoint.keep=2 --set log.every=20 --set eval.every=60)
launch 2 train job.yaml "${sets[@]}" --set checkpoint.keep=0
check "the undisturbed run" exits 0
[ "$code" -eq 0 ] || finish

# of_step DIRECTORY: one hash of a checkpoint's tensors.
of_step() { (cd "$1" && sha256sum ./*.safetensors) | sha256sum; }
declare -A expected
for directory in runs/undisturbed/step-*; do expected[${directory##*/}]=$(of_step "$directory"); done

main=0
ranks=()
stop_all()
{
    [ "$main" -eq 0 ] || kill -KILL "$main" "${ranks[@]}" 2>/dev/null || true
    clean_up
}
trap stop_all EXIT

writing() { compgen -G "$work/runs/killed/.writing-step-*" >/dev/null; }

# until_true SECONDS COMMAND...: until it succeeds, or the launch has ended.
until_true()
{
    local left=$(($1 * 100))
    shift
    until "$@"; do
        running "$main" && [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.01
    done
}

all_started() { mapfile -t ranks < <(pgrep -P "$main" || true); [ ${#ranks[@]} -ge "$wanted" ]; }

# hit KIND: kill, and say whom.
hit()
{
    case $1 in
        one) kill -KILL "${ranks[RANDOM % ${#ranks[@]}]}" ;;
        some) kill -KILL "${ranks[@]:0:$((1 + RANDOM % ${#ranks[@]}))}" ;;
        all) kill -KILL "${ranks[@]}" ;;
        mpirun) kill -KILL "$main" ;;
    esac 2>/dev/null
}

# Open MPI's mpirun may stay by itself, where a rank was killed while it reported to it.
all_ended()
{
    local process result=0
    for process in "${ranks[@]}"; do
        ended "$process" $patience_kill || { echo "    rank's process $process still runs"; result=1; }
    done
    if ! ended "$main" $patience_kill; then
        stayed=$((stayed + 1))
        echo "    mpirun stays, $([ $result -eq 0 ] && echo "all of its ranks have ended" || echo "as its ranks do"): $(tail -n 1 last.err)"
        kill -KILL "$main" 2>/dev/null || true
    fi
    [ "$result" -eq 0 ] || kill -KILL "$main" "${ranks[@]}" 2>/dev/null || true
    return $result
}

# The newest checkpoint has the bits of the undisturbed run's of its step.
compare_last()
{
    local directory
    directory=$(last_checkpoint killed)
    [ -n "$directory" ] || return 0
    compared=$((compared + 1))
    [ "$(of_step "$directory")" = "${expected[${directory##*/}]}" ] || {
        different=$((different + 1))
        check "bits of ${directory##*/} after $kills kills" false
    }
}

kinds=(one some all mpirun)
declare -A tally=([one]=0 [some]=0 [all]=0 [mpirun]=0)
kills=0 inside=0 hung=0 stayed=0 resumed=0 finished=0 compared=0 different=0 wrong=0 wanted=2 restart=0
while [ $kills -lt "$count" ] && [ $restart -lt $((4 * count)) ]; do
    restart=$((restart + 1))
    before=$(last_checkpoint killed)
    stage=$([ $((RANDOM % 2)) -eq 0 ] && echo gradients || echo parameters)
    rm -f last.out last.err
    mpirun -n $wanted "$program" train job.yaml "${sets[@]}" --set name=killed \
        --set "parallel.shard=$stage" >last.out 2>last.err </dev/null &
    main=$!
    ranks=()
    until_true 60 all_started || true
    kind=${kinds[RANDOM % 4]}
    if [ $((RANDOM % 3)) -eq 0 ]; then
        until_true 60 writing || true
        moment=inside
    else
        sleep "$(printf '%d.%03d' $((RANDOM % 3)) $((RANDOM % 1000)))"
        moment=anywhere
    fi
    writing && moment=inside || { [ $moment = anywhere ] || moment=anywhere; }
    if [ ${#ranks[@]} -gt 0 ] && running "$main" && hit "$kind"; then
        kills=$((kills + 1))
        tally[$kind]=$((tally[$kind] + 1))
        [ $moment = anywhere ] || inside=$((inside + 1))
        all_ended || { hung=$((hung + 1)); check "after kill $kills ($kind of $wanted ranks) all end" false; }
    else
        ended "$main" 120 || { hung=$((hung + 1)); kill -KILL "$main" 2>/dev/null || true; }
    fi
    wait "$main" 2>/dev/null || true
    main=0
    if [ -n "$before" ]; then
        number=$(resumed_step killed)
        if [ -n "$number" ]; then
            resumed=$((resumed + 1))
            # Nothing newer may have been passed over, and nothing whole be lost.
            if [ "$number" -ne "$((10#${before##*-}))" ]; then
                wrong=$((wrong + 1))
                check "restart $restart goes on from step ${before##*-}" same "$number" "$((10#${before##*-}))"
            fi
        fi
    fi
    compare_last
    if [ -d runs/killed/step-00000120 ]; then
        launch 1 train job.yaml "${sets[@]}" --set name=killed # its end may not have been said
        check "the run after $kills kills ends" exits 0
        finished=$((finished + 1))
        rm -rf runs/killed
    fi
    wanted=$((1 + (wanted + RANDOM % 3) % 4)) # another number than before
    [ $((restart % 25)) -ne 0 ] || echo "$(date +%T) $kills kills, $finished runs finished, $compared compared, $different different, $hung hung"
done
if [ -d runs/killed ]; then
    launch "$wanted" train job.yaml "${sets[@]}" --set name=killed
    check "the last restart" exits 0
    finished=$((finished + 1))
    compare_last
    check "no leftovers of killed writers" same \
        "$(find runs/killed -maxdepth 1 -type d ! -name 'step-*' ! -path runs/killed)" ""
fi
cat <<TALLY
kills: $kills (one rank ${tally[one]}, some ${tally[some]}, all ${tally[all]}, mpirun ${tally[mpirun]}), $inside of them while a checkpoint was written
launches: $restart on 1 to 4 ranks, $resumed went on from a checkpoint, $wrong from another than the newest
checkpoints compared with the undisturbed run's: $compared, $different with other bits; $finished of the runs
came to their end
launches that hung: $hung; mpirun alone stayed: $stayed
TALLY
check "$count kills" test $kills -eq "$count"
check "nothing hung" same $hung 0
finish
