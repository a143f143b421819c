#!/usr/bin/env bash
# EVON's posterior beside the exact one where inputs are correlated: at most a tenth as far from it as
# the best diagonal one, for values and for classes, of these nearer to the posterior itself than its
# Gaussian at the mode, and the same on any number of ranks.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

value() { jq -r ".$1" last.out; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a + 0 <= b + 0) }' || { echo "    $1 is more than $2"; false; }; }

# compare KIND OPTIMIZER: a job of jobs/exact/ on 50 examples, in a quarter of its steps
compare()
{
    "$here/../scripts/correlated-table" "$1" 50 1 >"$1.csv"
    local sets=() set
    for set in "name=$1-$2" "output=$work/runs" "data.train=csv:$work/$1.csv" "data.valid=csv:$work/$1.csv" \
        batch.sequences=50 optimizer.ess=50 optimizer.weight_decay=0.02 steps=4000 \
        optimizer.beta2=0.998 parallel.threads=1 "${@:3}"; do
        sets+=(--set "$set")
    done
    rm -rf "runs/$1-$2"
    launch 1 train "$here/../jobs/exact/$1-$2.yaml" --quiet "${sets[@]}"
    check "$1 regression by $2" exits 0
    launch 2 exact "runs/$1-$2" --spectrum --json
    check "beside the exact answer" exits 0
}

for kind in linear logistic; do
    compare $kind ivon
    check "of a diagonal posterior directions are single weights ($kind)" near "$(value kl_basis)" "$(value kl_diagonal)" 1e-12
    check "IVON is no nearer than the best diagonal ($kind)" at_most "$(value kl_diagonal)" "$(value kl)"
    best=$(value kl_diagonal) trace=$(value 'curvature_diagonal | add')
    compare $kind evon
    check "EVON is at a tenth of that ($kind)" at_most "$(value 'kl * 10')" "$best"
    check "the best diagonal is the same ($kind)" near "$(value kl_diagonal)" "$best" 1e-9
    check "the parts of the distance add up ($kind)" near "$(value kl)" "$(value 'kl_mean + .kl_variance + .kl_basis')" 1e-12
    check "variances are the optimum's in its directions ($kind)" near "$(value 'variance_ratio[2]')" 1 0.1
    check "and the exact ones of single weights ($kind)" near "$(value variance_over_exact)" 1 0.25
    check "h is the curvature's, whose trace is that of any basis ($kind)" near "$(value 'hessian | add')" "$trace" 0.3
    kl=$(value kl) nll=$(value run.nll)
    check "predictions are the exact posterior's ($kind)" near "$nll" "$(value exact.nll)" 0.05
    launch 3 exact runs/$kind-evon --draws 2000 --json
    check "the same on 3 ranks ($kind)" near "$(value kl)" "$kl" 1e-6
    [ $kind = linear ] || check "EVON is nearer to the posterior than its Gaussian" at_most "$(value 'posterior.run * 1.5')" "$(value posterior.gaussian)"
    check "and at a tenth of the best diagonal ($kind)" at_most "$(value 'posterior.run * 10')" "$(value posterior.diagonal)"
    check "and predictions ($kind)" near "$(value run.nll)" "$nll" 1e-6
done

# A basis of the two outputs alone, their sum and difference: what is then diagonal is nearer than in weights.
compare logistic evon optimizer.basis_limit=2
check "a basis of the outputs alone" at_most "$(value 'kl_basis * 2')" "$best"
launch 2 exact runs/logistic-evon --no-test
check "text says what directions cost" grep -q "of its directions q" last.out
finish
