#!/usr/bin/env bash
# K-FAC samples of runs by any optimizer: the same numbers on any number of ranks, and what is refused.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job text.yaml text adamw
launch 2 train text.yaml --set steps=20
check "text, by AdamW" exits 0
cat >digits.yaml <<JOB
name: digits
output: $work/runs
model: {kind: mlp, inputs: 784, outputs: 10, hidden: [24, 20], activation: relu}
data: {train: "glyphs:0-99", valid: "glyphs:60000-60199"}
batch: {sequences: 15}
steps: 100
optimizer: {kind: adamw, beta2: 0.99, weight_decay: 0.1}
schedule: {peak: 1.0e-3}
parallel: {threads: 1}
JOB
launch 1 train digits.yaml
check "digits, by AdamW" exits 0
sed 's/^name: .*/name: sgd/; s/^optimizer: .*/optimizer: {kind: sgd, momentum: 0.9}/; s/peak: [^}]*/peak: 0.02/' digits.yaml >sgd.yaml
launch 1 train sgd.yaml
check "digits, by SGD without weight decay" exits 0
sed 's/^name: .*/name: ivon/; s/^optimizer: .*/optimizer: {kind: ivon, ess: 2000, hessian_init: 0.1, weight_decay: 1.0e-3}/; s/peak: [^}]*/peak: 0.5/' digits.yaml >ivon.yaml
launch 1 train ivon.yaml
check "digits, by IVON" exits 0
member() { sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" "$work/last.out" | head -n 1; }

# same_numbers NAME ARGUMENT...: on 1, 2 and 3 ranks, and with weights that are fetched.
same_numbers()
{
    local name=$1 said="" ranks
    shift
    for ranks in 1 2 3; do
        launch "$ranks" "$@" --posterior kfac --json
        check "$name on $ranks ranks" exits 0
        [ -n "$said" ] || said=$(cat last.out)
        check "$name: numbers on $ranks ranks" same "$(cat last.out)" "$said"
    done
}
same_numbers digits eval runs/digits --samples 3
if command -v python3 >/dev/null; then
    check "--json is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' last.out
fi
check "three layers" same "$(member layers)" 3
check "as wide as the images and a bias" same "$(member widest)" 785
check "lambda is the examples" near "$(member ess)" 100 1e-12
check "the prior is the weight decay" near "$(member prior_precision)" 10 1e-12
check "of all of them" same "$(member rows)" 100
wide=$(member nll_averaged)
launch 2 eval runs/digits --samples 3 --posterior kfac --prior-precision 1e8 --json
check "a narrow prior" exits 0
check "is the mean" near "$(member nll_averaged)" "$(member nll)" 1e-3
check "which the wide one is not" test "$wide" != "$(member nll_averaged)"
same_numbers text eval runs/text --samples 2 --batches 3 --factor-batches 7 --ess 1e5 --prior-precision 1e4
check "four layers a block" same "$(member layers)" 8
check "tokens of seven batches" same "$(member rows)" $((7 * 2 * 32))
cp -r runs/text runs/fetched
sed -i 's/shard: gradients/shard: parameters/' runs/fetched/job.yaml
said=$(cat last.out)
launch 3 eval runs/fetched --samples 2 --batches 3 --factor-batches 7 --ess 1e5 --prior-precision 1e4 --posterior kfac --json
check "fetched weights, the same numbers" same "$(cat last.out)" "$said"
launch 2 eval runs/ivon --samples 2 --posterior kfac --json
check "a run that has a posterior of its own" exits 0
check "its lambda" near "$(member ess)" 2000 1e-12
check "its prior" near "$(member prior_precision)" 2 1e-12
launch 2 eval runs/ivon runs/digits --samples 2 --posterior kfac
check "two runs" exits 0
check "in words" grep -q "averaged over 2 K-FAC samples of each of 2 runs" last.out
if ! $is_short; then same_numbers letters ood runs/digits --out letters:0-99 --samples 2; fi

# refuse NAME CODE PATTERN ARGUMENT...: an exit code and one sentence, on 1 and on 3 ranks.
refuse()
{
    local name=$1 expected=$2 pattern=$3 ranks
    shift 3
    for ranks in 1 3; do
        if [ $ranks -eq 1 ]; then one eval "$@"; else launch $ranks eval "$@"; fi
        check "$name ($ranks ranks)" exits "$expected"
        check "$name is said ($ranks ranks)" grep -qE -e "^vario: .*$pattern" last.err
        check "$name is said once ($ranks ranks)" same "$(grep -c '^vario: ' last.err)" 1
    done
}
refuse "no samples" 2 "--posterior kfac: --samples S of at least 1" runs/digits --posterior kfac
refuse "another kind" 2 "'laplace' found, auto, mean, samples, dropout or kfac expected" runs/digits --posterior laplace
refuse "a prior of something else" 2 "--prior-precision 3 found, none expected without" runs/digits --samples 2 --prior-precision 3
refuse "batches of something else" 2 "--factor-batches 3 found, none expected" runs/digits --samples 2 --factor-batches 3
refuse "a prior of 0" 2 "--prior-precision: 0 found" runs/digits --samples 2 --posterior kfac --prior-precision 0
refuse "an ess of 0" 2 "--ess: 0 found" runs/digits --samples 2 --posterior kfac --ess 0
refuse "no prior at all" 2 "sgd: optimizer.weight_decay is 0.*--prior-precision" runs/sgd --samples 2 --posterior kfac
refuse "more batches than there are" 2 "glyphs:0-99: 7 batches of 15 found.*at least 8 expected" runs/digits --samples 2 --posterior kfac --factor-batches 8

# Training data that are gone, a factor too wide for LAPACK, samples that no node holds.
cp -r runs/text runs/moved
sed -i "s|train: .*train.bin|train: \"$work/gone.bin|" runs/moved/job.yaml
refuse "training data that are gone" 2 "gone.bin" runs/moved --samples 2 --posterior kfac
launch 1 train digits.yaml --set name=wide --set model.hidden='[3000]' --set steps=1
check "a wide layer" exits 0
refuse "samples that no memory holds" 3 "wide: K-FAC of 2 layers: rank 0 wants .* GB for its factors, .* for 65536 samples; the ranks on .* need .* GB are free" runs/wide --samples 65536 --posterior kfac
launch 1 train digits.yaml --set name=wider --set model.hidden='[32500]' --set steps=1
check "a wider layer" exits 0
refuse "a factor that is too wide" 2 "wider: tensor 'layers.0.weight': a K-FAC factor of 32500 rows and columns found, 8.45 GB" runs/wider --samples 2 --posterior kfac
finish
