#!/usr/bin/env bash
# Runs merged into one: the same bytes on any number of ranks, a run that evaluates and trains on,
# and inputs that are refused before anything is written.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job job.yaml base
launch 2 train job.yaml
check "the base" exits 0

# tune NAME SEED ESS: a run that begins with the base's weights.
tune()
{
    launch 2 train job.yaml --set name="$1" --set seed="$2" --set optimizer.ess="$3" \
        --set model.init="$(last_checkpoint base)" --set steps=20 --set schedule.peak=0.5
    check "tuning $1" exits 0
}
tune one 11 1e+6
tune two 12 2e+6
tune three 13 5e+5

# contents NAME: one hash of all that a run's only checkpoint and its job hold, state.json included.
contents()
{
    (cd "$work/runs/$1" && sha256sum job.yaml step-00000000/*) | sha256sum | cut -c1-16
}
member() { sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" "$work/last.out" | head -n 1; }
loss_of()
{
    launch 2 eval "runs/$1" --json
    member valid_loss
}

# same_bytes NAME ARGUMENT...: merge on 1, 2 and 3 ranks; --force replaces what the last one made.
same_bytes()
{
    local name=$1 ranks kept="" force=()
    shift
    for ranks in 1 2 3; do
        launch "$ranks" merge "$@" --out "runs/$name" "${force[@]}"
        check "$name on $ranks ranks" exits 0
        [ -n "$kept" ] || kept=$(contents "$name")
        check "$name: bytes on $ranks ranks" same "$(contents "$name")" "$kept"
        force=(--force)
    done
}
same_bytes onto-base runs/one runs/two --base runs/base
if ! $is_short; then
    same_bytes weighted runs/one runs/two runs/three --base runs/base --alpha 0.5 --scale 1 --scale 2 --scale 1
    same_bytes baseless runs/one runs/two runs/three
    same_bytes task runs/one runs/two --base runs/base --method task --alpha 0.5
    same_bytes mean runs/one runs/two runs/three --method mean
    check "methods differ" test "$(bits baseless)" != "$(bits mean)" -a "$(bits onto-base)" != "$(bits task)"
fi

# A checkpoint by its own name, and a result merged again; one model onto its base is that model.
launch 2 merge runs/two/step-00000020 --base runs/onto-base --out runs/again --json
check "merge again" exits 0
check "the summary says how" grep -q '"run": "again", "method": "hessian", "alpha": 1.0, ' last.out
check "the scale is lambda over the base's" same "$(sed -n 's/.*"models": .*"scale": \([0-9.]*\).*/\1/p' last.out)" 2.0
if command -v python3 >/dev/null; then
    check "merge --json is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' last.out
fi
check "one model keeps its mean" cmp -s runs/again/step-00000000/model.safetensors \
    runs/two/step-00000020/model.safetensors
check "one model adds to the posterior" test "$(sha256sum <runs/again/step-00000000/posterior.safetensors)" != \
    "$(sha256sum <runs/two/step-00000020/posterior.safetensors)"

# The result is a run: it evaluates, has a posterior, and trains on.
loss=$(loss_of onto-base)
check "the merged model predicts about as well" near "$loss" "$(loss_of one)" 0.1
launch 2 eval runs/onto-base --json --samples 2
check "it has a posterior" exits 0
check "its job has its name" grep -q '^name: "onto-base"' runs/onto-base/job.yaml
check "its events say how" grep -q '"event": "merged", "method": "hessian"' runs/onto-base/events.jsonl
launch 2 train runs/onto-base/job.yaml --set steps=10
check "it trains on" exits 0
check "from its own weights" grep -q 'resumed from step 0 ' last.out last.err
check "a checkpoint later" test -d runs/onto-base/step-00000010

# AdamW's runs have no posterior: task arithmetic and means do without.
for seed in 21 22; do
    write_job adamw.yaml adam$seed adamw
    launch 2 train adamw.yaml --set steps=10 --set seed=$seed
    check "AdamW's run $seed" exits 0
done
launch 2 merge runs/adam21 runs/adam22 --method mean --out runs/mean-of-adam
check "a mean without posteriors" exits 0
check "has none" test ! -e runs/mean-of-adam/step-00000000/posterior.safetensors
launch 2 train runs/mean-of-adam/job.yaml --set steps=10
check "it trains on as well" exits 0

# refuse NAME PATTERN ARGUMENT...: exit code 2 and one sentence, on 1 and on 3 ranks.
refuse()
{
    local name=$1 pattern=$2 ranks
    shift 2
    for ranks in 1 3; do
        if [ $ranks -eq 1 ]; then one merge "$@"; else launch $ranks merge "$@"; fi
        check "$name ($ranks ranks)" exits 2
        check "$name is said ($ranks ranks)" grep -qE -e "^vario: .*$pattern" last.err
        check "$name is said once ($ranks ranks)" same "$(grep -c '^vario: ' last.err)" 1
    done
}
refuse "no result's name" "--out NEWRUN expected" runs/one runs/two
refuse "a name that is none" "'a b' found" runs/one runs/two --out "runs/a b"
refuse "one model without a base" "at least two" runs/one --out runs/new
refuse "task arithmetic without a base" "--base RUN expected" runs/one runs/two --method task --out runs/new
refuse "a mean with a base" "no base expected" runs/one runs/two --method mean --base runs/base --out runs/new
refuse "an alpha without a base" "--alpha 2.*--base" runs/one runs/two --alpha 2 --out runs/new
refuse "an unknown method" "'fisher' found, one of hessian" runs/one runs/two --method fisher --out runs/new
refuse "scales for some" "--scale: 2 found" runs/one runs/two runs/three --scale 1 --scale 2 --out runs/new
refuse "a scale that is none" "--scale: '-1'" runs/one runs/two --scale=-1 --out runs/new
refuse "an absent run" "runs/four" runs/one runs/four --out runs/new
refuse "AdamW's run" "runs/adam21: no posterior with a Hessian found.*--method hessian" runs/one runs/adam21 --out runs/new
refuse "AdamW's run into IVON's" "runs/adam21: no posterior with a Hessian found.*ivon" runs/one runs/adam21 --method mean --out runs/new
refuse "scales without posteriors" "runs/adam21: no posterior.*--scale" runs/adam21 runs/adam22 --method mean --scale 2 --out runs/new
refuse "an existing run" "runs/onto-base: a run with checkpoints.*--force" runs/one runs/two --out runs/onto-base/
refuse "an input for the result" "holds the input runs/two" runs/one runs/two --out runs/two --force
refuse "an input's run for the result" "holds the input runs/two/step" runs/one runs/two/step-00000020 --out runs/two --force
launch 1 train job.yaml --set name=wide --set model.n_embd=64 --set steps=1 --set schedule.warmup=0
refuse "another width" "runs/wide: 'model.n_embd' is '64', '32' expected as in runs/one" runs/one runs/wide --out runs/new
launch 1 train job.yaml --set name=heads --set model.n_head=4 --set steps=1 --set schedule.warmup=0
refuse "other heads in tensors of the same shape" "runs/heads: 'model.n_head'" runs/one runs/heads --out runs/new

# Damage: the whole one before it is used, and where there is none, nothing is written.
damage() { printf x | dd of="$1" bs=1 seek=20000 conv=notrunc status=none; }
cp -r runs/two runs/damaged
damage runs/damaged/step-00000020/posterior.safetensors
launch 2 merge runs/one runs/damaged --out runs/older --json
check "an older checkpoint stands in" exits 0
check "and is named" grep -q '"runs/damaged/step-00000010"' last.out
check "a warning names what is damaged" grep -q "damaged/step-00000020/posterior.safetensors: tensor '" last.err
refuse "a damaged checkpoint" "step-00000020/posterior.safetensors: tensor '.*checksum" \
    runs/one runs/damaged/step-00000020 --out runs/new
refuse "a damaged base" "step-00000020/posterior.safetensors: tensor '.*checksum" \
    runs/one --base runs/damaged/step-00000020 --out runs/new
check "nothing of a refused merge is left" test ! -e runs/new

one merge --help
check "--help" exits 0
check "--help names the methods" grep -q "hessian|task|mean" last.out
launch 2 merge runs/one runs/two --out runs/quiet --quiet
check "--quiet" exits 0
check "--quiet is quiet" test ! -s last.err
finish
