#!/usr/bin/env bash
# Runs of optimizers that take the matrices of layers whole, in the hands of the other verbs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
# write_whole FILE NAME OPTIMIZER: write_job's, its matrices taken whole.
write_whole()
{
    write_job "$1" "$2" adamw
    sed -i "s/^optimizer: .*/optimizer: $3/; s/^schedule: .*/schedule: {kind: cosine, peak: 0.02, warmup: 5}/
        s/^parallel: .*/parallel: {threads: 1, shard: parameters}/; s/^steps: .*/steps: 20/" "$1"
}
settings='{kind: evon, ess: 1.0e+6, beta2: 0.9, basis_every: 5, basis_limit: 100}' # not the sides of 128
write_whole evon.yaml evon "$settings"
write_whole other.yaml other "$settings"
sed -i 's/^seed: .*/seed: 8/' other.yaml
write_whole rest.yaml rest "${settings/\}/, rest: ivon\}}"
write_whole soap.yaml soap '{kind: soap, basis_every: 5}'
write_whole muon.yaml muon '{kind: muon}'
for name in evon other rest soap muon; do
    launch 2 train $name.yaml
    check "a run of $name" exits 0
done

# means ARGUMENT...: the files hold what they must (tests/whole.py)
means() { python3 "$here/whole.py" "$@"; }
step() { echo "runs/$1/step-$(printf %08d "${2:-0}")"; }
# same_files A B: safetensors of two checkpoints
same_files()
{
    local file there
    for file in "$1"/*.safetensors; do
        there=$2/$(basename "$file")
        cmp "$file" "$there" || return 1
    done
}

# Deviations of single weights; points have none.
for name in evon rest; do
    for ranks in 1 3; do
        launch $ranks export runs/$name --out model-$name-$ranks
        check "$name is exported on $ranks ranks" exits 0
    done
    check "$name: bytes on 3 ranks" same_files model-$name-1 model-$name-3
    check "$name: deviations of weights" means export "$(step $name 20)" model-$name-1
done
for name in soap muon; do
    launch 2 export runs/$name --out model-$name
    check "$name is exported" exits 0
    check "$name has no deviations" test ! -e model-$name/posterior.safetensors
done

# A run begins with weights from elsewhere as training itself would.
for name in evon rest soap muon; do
    launch 2 train $name.yaml --set name=init-$name --set model.init="$work/$(step $name 20)" --set checkpoint.initial=true \
        --set checkpoint.keep=0
    check "$name begins with weights" exits 0
    for ranks in 1 3; do
        launch $ranks import "$(step $name 20)" --job $name.yaml --out runs/import-$name --force
        check "$name is imported on $ranks ranks" exits 0
        check "$name: what training begins with ($ranks ranks)" same_files "$(step import-$name)" "$(step init-$name)"
    done
    launch 2 train runs/import-$name/job.yaml
    check "$name trains on" exits 0
    check "$name: the same bits" same_files "$(step import-$name 20)" "$(step init-$name 20)"
done

# Merges of runs by the precision of single weights, and points by equal shares.
for ranks in 1 2 3; do
    launch $ranks merge runs/evon runs/other --out runs/merged-$ranks
    check "a merge on $ranks ranks" exits 0
    check "its bytes on $ranks ranks" same_files "$(step merged-1)" "$(step merged-$ranks)"
done
check "what is merged" means merge "$(step merged-1)" "$(step evon 20)" "$(step other 20)"
launch 2 eval runs/merged-1 --samples 2
check "it has a posterior" exits 0
launch 2 train runs/merged-1/job.yaml --set checkpoint.every=1 --set checkpoint.keep=0
check "it trains on" exits 0
check "from its own weights" grep -q 'resumed from step 0 ' last.out last.err
check "its h is turned into the first bases" means turn "$(step merged-1)" "$(step merged-1 1)"
launch 1 train rest.yaml --set name=rest2 --set seed=9
launch 3 merge runs/rest runs/rest2 --out runs/merged-rest
check "a merge without points" exits 0
check "what is merged without points" means merge "$(step merged-rest)" "$(step rest 20)" "$(step rest2 20)"
launch 2 merge runs/other --base runs/evon --out runs/onto
check "one onto a base" exits 0
check "one keeps its mean" cmp "$(step onto)/model.safetensors" "$(step other 20)/model.safetensors"
launch 2 merge runs/other runs/evon --base runs/evon --method task --out runs/task
check "task arithmetic" exits 0
check "a difference of nothing adds nothing" cmp "$(step task)/model.safetensors" "$(step other 20)/model.safetensors"
for name in soap muon; do
    launch 3 merge runs/$name runs/$name --method mean --out runs/mean-$name
    check "a mean of $name" exits 0
    check "the mean of one run is its" cmp "$(step mean-$name)/model.safetensors" "$(step $name 20)/model.safetensors"
    launch 2 train runs/mean-$name/job.yaml
    check "a mean of $name trains on" exits 0
done
# Going on is the same as not to have stopped, and so is starting over.
for name in evon soap; do
    kept=$(bits $name)
    rm -r "$(step $name 20)"
    launch 3 train $name.yaml
    check "$name goes on" same "$(resumed_step $name)" 10
    check "$name: the same bits when it went on" same "$(bits $name)" "$kept"
    launch 1 train $name.yaml --fresh
    check "$name does not start over unasked" exits 2
    launch 2 train $name.yaml --fresh --force
    check "$name starts over" exits 0
    check "$name: the same bits when it started over" same "$(bits $name)" "$kept"
done

# A posterior of ivon for a model of theirs: the same mean, squared gradients for h.
for name in evon rest soap muon; do
    for ranks in 1 3; do
        launch $ranks curvature runs/$name --out runs/curvature-$name-$ranks --batches 20
        check "a posterior for $name on $ranks ranks" exits 0
    done
    check "the bytes of $name's posterior" same_files "$(step curvature-$name-1)" "$(step curvature-$name-3)"
    check "$name's mean is kept" cmp "$(step curvature-$name-1)/model.safetensors" "$(step $name 20)/model.safetensors"
done
write_job adam.yaml adam adamw
launch 2 import "$(step soap 20)" --job adam.yaml --out runs/adam
launch 2 curvature runs/adam --out runs/curvature-adam --batches 20
check "it is that of the mean alone" cmp "$(step curvature-adam)/posterior.safetensors" \
    "$(step curvature-soap-1)/posterior.safetensors"
launch 2 eval runs/curvature-evon-1 --samples 2
check "it has samples" exits 0
launch 2 train runs/curvature-evon-1/job.yaml --set steps=10
check "it trains on" exits 0

write_job ivon.yaml ivon
launch 2 train ivon.yaml --set steps=10
launch 2 merge runs/evon runs/ivon --out runs/mixed
check "a run of ivon into one of evon" exits 0
launch 2 merge runs/ivon runs/rest --out runs/mixed-too
check "a run of evon without points into one of ivon" exits 0

# refuse NAME PATTERN ARGUMENT...: exit code 2 and one sentence, on 1 and on 3 ranks.
refuse()
{
    local name=$1 pattern=$2 ranks
    shift 2
    for ranks in 1 3; do
        if [ $ranks -eq 1 ]; then one "$@"; else launch $ranks "$@"; fi
        check "$name ($ranks ranks)" exits 2
        check "$name is said ($ranks ranks)" grep -qE -e "^vario: .*$pattern" last.err
        check "$name is said once ($ranks ranks)" same "$(grep -c '^vario: ' last.err)" 1
    done
    check "nothing is left of $name" test ! -e runs/new -a ! -e new
}
refuse "points where a posterior is wanted" "runs/evon: tensor 'wte.weight' is a point there.*runs/ivon" \
    merge runs/ivon runs/evon --out runs/new
refuse "a merge of soap by curvature" "runs/soap: no posterior with a Hessian found" merge runs/soap runs/evon --out runs/new
cp -r runs/other runs/damaged
rm -r runs/damaged/step-00000010
size=$(wc -c <"$(step damaged 20)/posterior.safetensors")
printf x | dd of="$(step damaged 20)/posterior.safetensors" bs=1 seek=$((size - 2000)) conv=notrunc status=none
refuse "a damaged basis" "posterior.safetensors: tensor 'basis\..*checksum" merge runs/evon runs/damaged --out runs/new
refuse "a damaged basis to export" "posterior.safetensors: tensor 'basis\..*checksum" export runs/damaged --out new

# A page of them.
if command -v gnuplot >/dev/null; then
    one report runs/evon runs/soap --out page.html
    check "a report" exits 0
    check "without warnings" test ! -s last.err
    for name in sigma-layers hessian-layers directions-layers; do
        check "has a picture $name" grep -q "<figure id=\"$name\">" page.html
    done
    check "says whose deviations these are" grep -q "evon: σ and h of its matrices are those of directions" page.html
    check "says that soap has none" grep -q "soap: no spread over layers" page.html
    cp -r runs/rest runs/torn
    for number in 10 20; do printf x | dd of="$(step torn $number)/optimizer.safetensors" bs=1 seek=20000 conv=notrunc status=none; done
    one report runs/torn --out torn.html
    check "a report without factors" exits 0
    check "names what is damaged" grep -q "warning: .*torn/step-00000020/optimizer.safetensors: tensor '" last.err
    check "has the posterior's pictures" grep -q '<figure id="sigma-layers">' torn.html
    check "and not the factors'" same "$(grep -c directions-layers torn.html)" 0
fi

# What is made of passes at the mean: K-FAC, exact posteriors, sensitivities.
cat >digits.yaml <<JOB
name: digits
seed: 7
output: $work/runs
model: {kind: mlp, inputs: 784, outputs: 10, hidden: [24, 20], activation: relu}
data: {train: "glyphs:0-99", valid: "glyphs:60000-60199"}
batch: {sequences: 15}
steps: 60
optimizer: {kind: evon, ess: 100, hessian_init: 0.5, beta2: 0.99, weight_decay: 1.0e-3, basis_limit: 100}
schedule: {peak: 0.02}
parallel: {threads: 1}
JOB
launch 1 train digits.yaml
check "digits" exits 0
# same_numbers NAME ARGUMENT...: on 1, 2 and 3 ranks
same_numbers()
{
    local name=$1 said="" ranks
    shift
    for ranks in 1 2 3; do
        launch "$ranks" "$@" --json
        check "$name on $ranks ranks" exits 0
        [ -n "$said" ] || said=$(cat last.out)
        check "$name: numbers on $ranks ranks" same "$(cat last.out)" "$said"
    done
}
same_numbers "K-FAC of digits" eval runs/digits --posterior kfac --samples 2
same_numbers "K-FAC of text" eval runs/evon --posterior kfac --samples 2 --batches 2 --factor-batches 3 \
    --ess 1e5 --prior-precision 1e4
evidence=""
for ranks in 1 3; do
    launch $ranks exact runs/digits --ess 100 --prior 1 --bias-prior 1 --json
    check "an exact posterior on $ranks ranks" exits 0
    found=$(jq .log_evidence last.out)
    check "its evidence on $ranks ranks" near "${evidence:=$found}" "$found" 1e-9
done
check "it is compared with none in bases" same "$(grep -c variance_ratio last.out)" 0
same_numbers "sensitivities of digits" sensitivity runs/digits --groups class
check "leaving out adds to the loss" jq -e '.loo_loss > .loss' last.out
same_numbers "sensitivities of text" sensitivity runs/evon --range 0-5
same_numbers "sensitivities of tokens" sensitivity runs/rest --per token --range 0-5
finish
