#!/usr/bin/env bash
# Bayes by backprop and SWAG: a run's bits on any number of ranks, going on, evaluation with samples,
# data of another kind, text, and what merges.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

cat >job.yaml <<EOF
name: base
output: $work/runs
model: {kind: mlp, inputs: 2, outputs: 2, hidden: [90, 30]}
data: {train: "moons:0-299", valid: "moons:300-399"}
batch: {sequences: 8, microbatches: 5}
steps: 60
optimizer: {OPTIMIZER}
schedule: {kind: constant, peak: PEAK}
clip: {norm: 1.0}
parallel: {threads: 1}
eval: {every: 30, samples: 4}
checkpoint: {every: 20}
log: {every: 20}
EOF
write() { sed -e "s/OPTIMIZER/$2/" -e "s/PEAK/$3/" job.yaml >"$1.yaml"; }
write bbb "kind: bbb, ess: 300, weight_decay: 0.01, sigma_init: 0.05" 0.01
write swag "kind: sgd" 0.1
write averaged "kind: adamw" 0.01
for job in swag averaged; do echo "swag: {start: 25, every: 5, rank: 3}" >>$job.yaml; done

# train NAME RANKS JOB [KEY=VALUE...]: from scratch.
train()
{
    local name=$1 ranks=$2 job=$3 sets=(--set "name=$1") pair
    shift 3
    for pair in "$@"; do sets+=(--set "$pair"); done
    rm -rf "runs/$name"
    launch "$ranks" train "$job.yaml" "${sets[@]}"
    check "$name trains" exits 0
}
losses() { column "$1" valid_loss; column "$1" valid_loss_averaged; }
expect_same()
{
    check "bits of $1" same "$(bits "$1")" "$(bits "$2")"
    check "losses of $1" same "$(losses "$1")" "$(losses "$2")"
}
member() { sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" "$work/last.out" | head -n 1; }

for job in bbb swag averaged; do
    reference=$job-g1
    train "$reference" 1 $job parallel.shard=gradients
    for ranks in 1 2 3 4; do
        $is_short && [ $ranks -ne 3 ] && continue
        [ $ranks -eq 1 ] || train $job-g$ranks $ranks $job parallel.shard=gradients
        [ $ranks -eq 1 ] || expect_same $job-g$ranks "$reference"
        train $job-p$ranks $ranks $job parallel.shard=parameters
        expect_same $job-p$ranks "$reference"
    done
    for shard in none optimizer; do # one set of bits a number of ranks
        train $job-$shard 3 $job parallel.shard=$shard
        train $job-$shard-again 3 $job parallel.shard=$shard
        expect_same $job-$shard-again $job-$shard
        check "$job with $shard is close" near "$(losses $job-$shard | tail -n 1)" \
            "$(losses "$reference" | tail -n 1)" 0.02
    done

    # Stopped between two snapshots, after the oldest column was replaced; then elsewhere.
    train $job-parts 3 $job steps=47
    launch 2 train $job.yaml --set name=$job-parts --set parallel.shard=parameters
    check "$job goes on" exits 0
    check "$job goes on from its end" same "$(resumed_step)" 47
    check "$job goes on with the same bits" same "$(bits $job-parts)" "$(bits "$reference")"

    launch 1 eval "runs/$reference" --json --samples 4
    check "eval of $job" exits 0
    found="$(member valid_loss) $(member valid_loss_averaged)"
    check "eval of $job is what training found" near "${found##* }" \
        "$(losses "$reference" | tail -n 1)" 1e-6
    check "samples of $job differ from the mean" test "${found% *}" != "${found##* }"
    for ranks in 2 3; do
        launch $ranks eval "runs/$reference" --json --samples 4
        check "eval of $job on $ranks ranks" same \
            "$(member valid_loss) $(member valid_loss_averaged)" "$found"
    done
    launch 3 eval runs/$job-p3 --json --samples 4
    check "eval of $job sharded" same "$(member valid_loss) $(member valid_loss_averaged)" "$found"
    launch 1 ood "runs/$reference" --out moons:500-599 --samples 4 --json
    check "ood of $job" grep -q '"mutual_information"' last.out
    cp last.out ood.json
    launch 3 ood "runs/$reference" --out moons:500-599 --samples 4 --json
    check "ood of $job on 3 ranks" cmp last.out ood.json
done
check "bbb logs its deviations" test -n "$(column bbb-g1 sigma_mean | tail -n 1)"
check "swag counts its snapshots" grep -q '"snapshots": 8' "$(last_checkpoint swag-g1)/state.json"

# Training does not see the snapshots; evaluation does.
train plain 1 swag eval.samples=0 swag.start=59 swag.every=1
check "the weights in training are the same" cmp "$(last_checkpoint plain)/model.safetensors" \
    "$(last_checkpoint swag-g1)/model.safetensors"
check "their average is another" test "$(losses plain | head -n 2 | tail -n 1)" != \
    "$(losses swag-g1 | head -n 2 | tail -n 1)"

# Before the first snapshot there is only a point.
train early 1 swag steps=30
rm -rf runs/early/step-00000030
launch 2 eval runs/early --json --samples 4
check "eval before the first snapshot" exits 0
check "it says so" grep -q "no snapshot yet" last.err
check "samples are the mean" near "$(member valid_loss)" "$(member valid_loss_averaged)" 1e-9

# A mean of two equal runs is their weights in training; what SWAG collected of them stays behind.
launch 2 merge runs/swag-g1 runs/swag-p3 --method mean --out runs/merged
check "swag merges" exits 0
check "the mean of equal runs" cmp runs/merged/step-00000000/model.safetensors \
    "$(last_checkpoint swag-g1)/model.safetensors"
launch 2 eval runs/merged
check "without snapshots" grep -q "no snapshot yet" last.err
launch 2 train runs/merged/job.yaml
check "the merged run goes on" exits 0
check "and collects anew" grep -q '"snapshots": 8' "$(last_checkpoint merged)/state.json"
launch 2 merge runs/averaged-g1 runs/bbb-g1 --method mean --out runs/mixed
check "bbb's mean counts in another's run" exits 0
# refuse WORDS ARGUMENT...
refuse()
{
    launch 2 merge "${@:2}" --out runs/refused
    check "refused: $1" exits 2
    check "says: $1" grep -q "^vario: .*$1" last.err
    check "leaves nothing: $1" test ! -e runs/refused
}
refuse "runs/bbb-g1: a run of bbb found.*log deviations" runs/bbb-g1 runs/bbb-p3 --method mean
refuse "runs/bbb-g1: a run of bbb found.*log deviations" runs/bbb-g1 runs/bbb-p3
refuse "runs/averaged-g1: no posterior with a Hessian found" runs/averaged-g1 runs/bbb-g1

# Text, drawn with one sample after another.
make_data
for kind in "bbb ess: 1.0e+5, weight_decay: 0.01, sigma_init: 0.05" "adamw beta2: 0.99"; do
    write_job text.yaml "text-${kind%% *}"
    sed -i "s/^optimizer:.*/optimizer: {kind: ${kind%% *}, ${kind#* }}/; s/peak: 2.0/peak: 0.001/" text.yaml
    [ "${kind%% *}" = bbb ] || echo "swag: {start: 5, every: 1, rank: 4}" >>text.yaml
    launch 2 train text.yaml --set steps=10 --set checkpoint.every=10
    check "text of ${kind%% *}" exits 0
    launch 1 generate "runs/text-${kind%% *}" --prompt sea --tokens 20 --samples 3
    check "generate of ${kind%% *}" exits 0
    cp last.out text.out
    launch 3 generate "runs/text-${kind%% *}" --prompt sea --tokens 20 --samples 3
    check "generate of ${kind%% *} on 3 ranks" cmp last.out text.out
    launch 1 generate "runs/text-${kind%% *}" --prompt sea --tokens 20
    check "samples of ${kind%% *} write something else" test "$(cat last.out)" != "$(cat text.out)"
done

sed -i '/^swag/d' swag.yaml
train without 1 swag eval.samples=0
launch 1 eval runs/without --samples 4
check "sgd alone has no posterior" exits 2
check "that is said" grep -q "a posterior .* expected" last.err
finish
