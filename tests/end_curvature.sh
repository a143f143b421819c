#!/usr/bin/env bash
# A posterior for runs without one: the same bytes on any number of ranks, a run that evaluates,
# merges, ranks its examples and trains on, and what is refused before anything is written.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job base.yaml base adamw
launch 2 train base.yaml
check "the base, by AdamW" exits 0
for seed in 11 12; do
    launch 2 train base.yaml --set name=tuned$seed --set seed=$seed --set model.init="$(last_checkpoint base)" \
        --set steps=20
    check "tuning $seed" exits 0
done

# contents NAME: one hash of all that a run's only checkpoint and its job hold, state.json included.
contents()
{
    (cd "$work/runs/$1" && sha256sum job.yaml step-00000000/*) | sha256sum | cut -c1-16
}
member() { sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" "$work/last.out" | head -n 1; }

# same_bytes NAME ARGUMENT...: on 1, 2 and 3 ranks; --force replaces what the last one made.
same_bytes()
{
    local name=$1 ranks kept="" said="" force=()
    shift
    for ranks in 1 2 3; do
        launch "$ranks" curvature "$@" --out "runs/$name" --json "${force[@]}"
        check "$name on $ranks ranks" exits 0
        [ -n "$kept" ] || { kept=$(contents "$name") said=$(cat last.out); }
        check "$name: bytes on $ranks ranks" same "$(contents "$name")" "$kept"
        check "$name: numbers on $ranks ranks" same "$(cat last.out)" "$said"
        force=(--force)
    done
}
same_bytes base-h runs/base
if command -v python3 >/dev/null; then
    check "--json is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' last.out
fi
check "every sequence of the data is a batch" test "$(member batches)" = "$(member sequences)" -a "$(member batches)" -gt 256
check "lambda is the tokens of these" same "$(member lambda)" $(($(member sequences) * 32)).0
launch 2 curvature runs/tuned11 --out runs/h11
check "another run" exits 0
launch 2 curvature runs/tuned12/step-00000010 --out runs/h12 --quiet
check "a checkpoint by its name" exits 0
check "--quiet is quiet" test ! -s last.err
if ! $is_short; then
    same_bytes batches runs/base --sequences 3 --batches 40 --ess 1e5 --decay 0 --floor 1e-5
    check "--ess" same "$(member lambda)" 100000.0
    check "batches of three" same "$(member sequences)" 120
    launch 2 train base.yaml --set name=whole --set steps=10 --set parallel.shard=parameters --set precision=bf16 \
        --set parallel.wire=bf16 --set model.dropout=0.1
    same_bytes parameters runs/whole --batches 20
fi

# The result is a run of IVON with the same mean.
check "the same mean" cmp -s runs/base-h/step-00000000/model.safetensors runs/base/step-00000050/model.safetensors
check "its job has its name" grep -q '^name: "base-h"' runs/base-h/job.yaml
check "its job is IVON's" grep -q '^  kind: ivon' runs/base-h/job.yaml
check "its events say how" grep -q '"event": "curvature", "source": "runs/base/step-00000050"' runs/base-h/events.jsonl
launch 2 eval runs/base-h --json --samples 4
check "it has samples" exits 0
check "that predict about as well" near "$(member nll_averaged)" "$(member nll)" 0.2
launch 2 sensitivity runs/base-h --range 0-9 --json
check "it knows what its examples weigh" exits 0
launch 2 ood runs/base-h --out data/val.bin --samples 2 --batches 4 --json
check "it tells sets apart" exits 0
launch 2 merge runs/h11 runs/h12 --base runs/base-h --out runs/merged
check "such runs merge by curvature" exits 0
check "with a posterior" test -s runs/merged/step-00000000/posterior.safetensors
launch 2 train runs/base-h/job.yaml --set steps=10
check "it trains on" exits 0
check "from its own weights" grep -q 'resumed from step 0 ' last.out last.err
check "a checkpoint later" test -d runs/base-h/step-00000010

# Weights from elsewhere: a job whose model.init has them. The mean of SWAG's snapshots.
sed "s|block_size: 32,|block_size: 32, init: $work/runs/base/step-00000050,|" base.yaml >elsewhere.yaml
launch 2 curvature elsewhere.yaml --out runs/elsewhere --batches 20
check "a job with weights from elsewhere" exits 0
launch 1 curvature runs/base --out runs/again --batches 20
check "has the posterior of the run that they are of" cmp -s runs/elsewhere/step-00000000/posterior.safetensors \
    runs/again/step-00000000/posterior.safetensors
launch 2 train base.yaml --set name=swag --set swag.start=10 --set swag.every=10 --set swag.rank=2
launch 2 curvature runs/swag --out runs/average --batches 20
check "a run of SWAG" exits 0
launch 1 eval runs/swag --json
loss=$(member valid_loss)
launch 1 eval runs/average --json
check "gets the average for its mean" same "$(member valid_loss)" "$loss"

# refuse NAME CODE PATTERN ARGUMENT...: an exit code and one sentence, on 1 and on 3 ranks, and
# nothing written.
refuse()
{
    local name=$1 expected=$2 pattern=$3 ranks
    shift 3
    for ranks in 1 3; do
        if [ $ranks -eq 1 ]; then one curvature "$@"; else launch $ranks curvature "$@"; fi
        check "$name ($ranks ranks)" exits "$expected"
        check "$name is said ($ranks ranks)" grep -qE -e "^vario: .*$pattern" last.err
        check "$name is said once ($ranks ranks)" same "$(grep -c '^vario: ' last.err)" 1
    done
    check "nothing is left of $name" test ! -e runs/new
}
refuse "no result's name" 2 "--out NEWRUN expected" runs/base
refuse "a name that is none" 2 "'a b' found" runs/base --out "runs/a b"
refuse "an absent run" 2 "runs/four: a run directory expected" runs/four --out runs/new
refuse "an existing run" 2 "runs/h11: a run with checkpoints.*--force" runs/base --out runs/h11
refuse "itself" 2 "holds the input runs/base" runs/base --out runs/base --force
refuse "its own checkpoint" 2 "holds the input runs/base/step" runs/base/step-00000050 --out runs/base --force
refuse "no sequences" 2 "--sequences: 0 found" runs/base --out runs/new --sequences 0
refuse "more batches than there are" 2 "batches of 1 sequences found.*at least 100000 expected" runs/base --out runs/new --batches 100000
refuse "no precision at all" 2 "--decay 0: --floor F" runs/base --out runs/new --decay 0
refuse "a floor of 0" 2 "--floor: 0 found" runs/base --out runs/new --floor 0
refuse "weights from nowhere" 2 "model.init' is scratch" base.yaml --out runs/new
mkdir runs/empty
cp runs/base/job.yaml runs/empty
refuse "a run without a checkpoint" 2 "runs/empty: .*checkpoint" runs/empty --out runs/new
cp -r runs/tuned11 runs/damaged
rm -r runs/damaged/step-00000010
printf x | dd of=runs/damaged/step-00000020/model.safetensors bs=1 seek=20000 conv=notrunc status=none
refuse "a damaged checkpoint" 2 "step-00000020/model.safetensors: tensor '.*checksum" runs/damaged --out runs/new

# A loss that is not finite: a row far outside of what fp32 squares.
{ echo x,y; for i in 1 2 3 4 5 6 7; do echo "0.$i,$i"; done; } >table.csv
cat >line.yaml <<LINE
name: line
output: $work/runs
model: {kind: linear, inputs: 1, outputs: 1, loss: gaussian}
data: {train: "csv:$work/table.csv", valid: "csv:$work/table.csv"}
batch: {sequences: 3}
steps: 2
optimizer: {kind: sgd}
schedule: {peak: 0.01}
parallel: {threads: 1}
LINE
launch 1 train line.yaml
check "a line" exits 0
echo 1e30,1e30 >>table.csv
refuse "a loss that is not finite" 3 "step-00000002: batch [0-7] of 8 has a .* that is not finite" runs/line --out runs/new
finish
