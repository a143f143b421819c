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
write_whole evon.yaml evon '{kind: evon, ess: 1.0e+6, basis_every: 5}'
write_whole soap.yaml soap '{kind: soap, basis_every: 5}'
write_whole muon.yaml muon '{kind: muon}'
for name in evon soap muon; do
    launch 2 train $name.yaml
    check "a run of $name" exits 0
done

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
for name in evon soap muon; do
    refuse "a merge of $name" "runs/$name: optimizer.kind $name found" merge runs/$name runs/$name --method mean --out runs/new
    refuse "an import of $name" "optimizer.kind $name found" import "$(last_checkpoint $name)" --job $name.yaml --out runs/new
    refuse "an export of $name" "runs/$name: optimizer.kind $name found" export runs/$name --out new
    refuse "a posterior for $name" "runs/$name: optimizer.kind $name found" curvature runs/$name --out runs/new
    refuse "K-FAC of $name" "optimizer.kind $name found" eval runs/$name --posterior kfac --samples 2
    refuse "an exact posterior of $name" "runs/$name: optimizer.kind $name found" exact runs/$name
done
finish
