#!/usr/bin/env bash
# The tensors of a run's last checkpoint have the same bits on any number of ranks, with gradients or
# parameters sharded; the other stages repeat theirs on the same number and stay close.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job ivon.yaml ivon ivon
write_job adamw.yaml adamw adamw
quick=() # overrides of every run of this script
! $is_short || quick=(--set steps=12 --set checkpoint.every=6)

# train NAME RANKS JOB [KEY=VALUE...]: a run of that name, from scratch.
train()
{
    local name=$1 ranks=$2 job=$3 sets=("${quick[@]}" --set "name=$1") pair
    shift 3
    for pair in "$@"; do sets+=(--set "$pair"); done
    rm -rf "runs/$name"
    launch "$ranks" train "$job" "${sets[@]}"
    check "$name trains" exits 0
}

# expect NAME RANKS JOB [KEY=VALUE...]: bits and losses are those of the run `reference`.
expect()
{
    train "$@"
    check "bits of $1 ($*)" same "$(bits "$1")" "$(bits "$reference")"
    check "losses of $1" same "$(column "$1" train_loss; column "$1" valid_loss)" \
        "$(column "$reference" train_loss; column "$reference" valid_loss)"
    [ "$failed" -gt 0 ] || rm -rf "runs/$1"
}

# What the issue asks for: every optimizer, precision and number of ranks.
for optimizer in ivon adamw; do
    for precision in fp32 bf16; do
        reference=$optimizer-$precision-g1
        train "$reference" 1 $optimizer.yaml precision=$precision parallel.shard=gradients
        check "$reference saw every step" same "$(basename "$(last_checkpoint "$reference")")" \
            "$($is_short && echo step-00000012 || echo step-00000050)"
        for ranks in 1 2 3 4; do
            $is_short && [ $ranks -ne 3 ] && continue
            [ $ranks -eq 1 ] || expect $optimizer-$precision-g$ranks $ranks $optimizer.yaml \
                precision=$precision parallel.shard=gradients
            expect $optimizer-$precision-p$ranks $ranks $optimizer.yaml \
                precision=$precision parallel.shard=parameters
        done
    done
done
if grep -q '"precision": "bf16"' runs/ivon-bf16-g1/events.jsonl; then
    check "precisions differ" test "$(bits ivon-fp32-g1)" != "$(bits ivon-bf16-g1)"
else
    check "a processor without bf16 computes in fp32" same "$(bits ivon-fp32-g1)" "$(bits ivon-bf16-g1)"
fi

# Steps that are logged look at the sums before the update, others need none.
for row in "seldom ivon.yaml" "seldom-samples ivon.yaml optimizer.mc_samples=2"; do
    read -r name job options <<<"$row"
    # shellcheck disable=SC2086
    train "$name" 2 "$job" $options log.every=1000
    # shellcheck disable=SC2086
    train "$name-logged" 3 "$job" $options log.every=1
    check "logging changes no bit ($name)" same "$(bits "$name")" "$(bits "$name-logged")"
done

# Ranks of a node keep means and deviations once: on one node, on several, on none.
reference=ivon-fp32-g1
for of_node in 1 2 3; do
    $is_short && [ $of_node -ne 2 ] && continue
    export VARIO_NODE_RANKS=$of_node
    expect nodes-of-$of_node 5 ivon.yaml parallel.shard=gradients
done
unset VARIO_NODE_RANKS
reference=adamw-bf16-g1
export VARIO_NODE_RANKS=2
expect adamw-nodes 5 adamw.yaml parallel.shard=gradients precision=bf16
# Stopped on three nodes, gone on with on one.
rm -rf runs/moves
launch 5 train ivon.yaml "${quick[@]}" --set name=moves --set parallel.shard=gradients --until 9
check "a run on three nodes stops" exits 0
check "it says on how many it was" grep -q '"memory_nodes": 3' runs/moves/events.jsonl
unset VARIO_NODE_RANKS
launch 3 train ivon.yaml "${quick[@]}" --set name=moves --set parallel.shard=gradients
check "it goes on, on one" exits 0
check "bits of the run that moved" same "$(bits moves)" "$(bits ivon-fp32-g1)"
VARIO_NODE_RANKS=many launch 2 train ivon.yaml "${quick[@]}" --set name=nowhere
check "nodes of many" exits 2
check "it is said, once" same "$(grep ^vario: last.err)" "vario: VARIO_NODE_RANKS is 'many', a whole number from 1 to 1048576 expected"

# A repeat is the same run; another seed is another one.
reference=ivon-fp32-g1
expect again 2 ivon.yaml
train reseeded 2 ivon.yaml seed=8
check "the seed matters" test "$(bits reseeded)" != "$(bits ivon-fp32-g1)"

# Options that touch what travels or in which order it is added.
variant()
{
    reference=$1-1
    train "$reference" 1 "${@:2}"
    check "$1 makes a difference" test "$(bits "$reference")" != "$(bits "${2%.yaml}-fp32-g1")"
    expect "$1-g3" 3 "${@:2}" parallel.shard=gradients
    $is_short || expect "$1-p2" 2 "${@:2}" parallel.shard=parameters
    $is_short || expect "$1-p4" 4 "${@:2}" parallel.shard=parameters
}
variant samples ivon.yaml optimizer.mc_samples=2
variant wire ivon.yaml parallel.wire=bf16
variant step-clip ivon.yaml clip.scope=step clip.norm=1
variant adamw-step-clip adamw.yaml clip.scope=step clip.norm=0.5
variant dropout ivon.yaml model.dropout=0.1
variant course ivon.yaml optimizer.ess_final=1e5
# The posterior of a checkpoint is that of its step, and a run that goes on from one has it.
lambda_after() { jq .lambda "runs/$1/step-$(printf %08d "$2")/state.json"; }
steps=$($is_short && echo 12 || echo 50)
launch 2 train ivon.yaml "${quick[@]}" --set name=paused --set optimizer.ess_final=1e5 \
    --until $((steps / 2))
check "ess in the middle of a cosine" near "$(lambda_after paused $((steps / 2)))" 5.5e5 1e-12
launch 3 train ivon.yaml "${quick[@]}" --set name=paused --set optimizer.ess_final=1e5
check "ess goes on" same "$(bits paused)" "$(bits course-1)"
check "ess at the end" same "$(lambda_after paused "$steps" | sed 's/\.0$//')" 100000
if ! $is_short; then
    variant unclipped ivon.yaml clip.norm=.inf
    variant gradsq ivon.yaml optimizer.hessian=gradsq
    variant bias ivon.yaml model.bias=true
    variant mixed ivon.yaml precision=bf16 parallel.wire=bf16 model.dropout=0.1 \
        optimizer.mc_samples=2 clip.scope=step
fi
reference=ivon-fp32-g1 # recomputing changes time and memory, no number
expect recompute-g1 1 ivon.yaml recompute=block
expect recompute-p3 3 ivon.yaml recompute=block parallel.shard=parameters
reference=dropout-1
expect recompute-dropout-g2 2 ivon.yaml recompute=block model.dropout=0.1

# first COLUMN NAME: its value in the row of step 10 (or the run's first).
first() { column "$2" "$1" | sed -n "$(column "$2" step | awk '$1 <= 10 { n = NR } END { print n }')p"; }

# Sums on each rank first: one set of bits a number of ranks, and losses that are close.
for shard in none optimizer; do
    for optimizer in ivon adamw; do
        for ranks in 1 3; do
            $is_short && [ $ranks -eq 1 ] && continue
            reference=$shard-$optimizer-$ranks
            train "$reference" $ranks $optimizer.yaml parallel.shard=$shard
            $is_short || expect "$reference-again" $ranks $optimizer.yaml parallel.shard=$shard
            # The order of additions changes the last digits, and training makes more of them.
            for column in train_loss grad_norm; do
                check "$column of $reference starts like that of gradients" near \
                    "$(first $column "$reference")" "$(first $column $optimizer-fp32-g1)" 1e-5
            done
            check "$reference ends close to gradients" near \
                "$(column "$reference" valid_loss | tail -n 1)" \
                "$(column $optimizer-fp32-g1 valid_loss | tail -n 1)" 0.02
        done
    done
done

# The work is truly divided. Ranks report what they sent, and every rank computes: with more layers
# than can hide in the start-up time, four ranks take about as much processor time as one, not four
# times as much.
check "one rank sends nothing" same "$(column ivon-fp32-g1 bytes_sent | sort -nu | tr '\n' ' ')" "0 "
train sent 3 ivon.yaml
check "three ranks send bytes every step" test "$(column sent bytes_sent | sort -n | head -n 1)" -gt 0
# A step's least: every rank's gradient pieces for the others, in fp32.
parameters=$((256 * 32 + 32 * 32 + 2 * (12 * 32 * 32 + 2 * 32) + 32))
check "about as many as the gradients have" test "$(column sent bytes_sent | tail -n 1)" -gt \
    $((4 * parameters * 2))

# user_seconds COMMAND...: processor time of a command and its children.
user_seconds()
{
    local TIMEFORMAT=%U
    { time "$@" >last.out 2>last.err </dev/null; } 2>&1 | tail -n 1
}
work_of()
{
    user_seconds timeout "$patience" mpirun -n "$1" "$program" train ivon.yaml --set "name=work-$1" \
        --set model.n_embd=128 --set model.n_layer=4 --set batch.sequences=8 \
        --set batch.microbatches=8 --set steps=8 --set eval.batches=1
}
if ! $is_short; then
    alone=$(work_of 1)
    divided=$(work_of 4)
    echo "processor time: $alone s on one rank, $divided s on four"
    check "four ranks divide the work" awk -v a="$alone" -v d="$divided" 'BEGIN {
        exit !(a > 0 && d < 2.5 * a + 2) }'
fi
finish
