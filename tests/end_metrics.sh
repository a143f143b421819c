#!/usr/bin/env bash
# What metrics.csv says of a run's speed, and that asking for it changes nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job job.yaml run
sets=(--set steps=20 --set checkpoint.every=10)

# positive NAME COLUMN: every row has a number above 0 there.
positive()
{
    column "$1" "$2" | awk '!($1 > 0) { bad = 1 } END { exit bad || NR == 0 }' ||
        { echo "    $2: $(column "$1" "$2" | tr '\n' ' ')"; false; }
}

launch 2 train job.yaml "${sets[@]}"
check "a run" exits 0
expected=$(bits run)
check "utilization is measured" positive run model_flops_utilization
check "the progress line has it" grep -q "% of peak" last.out
check "the ceiling is remembered" test -s cache/vario/ceilings.json

cp cache/vario/ceilings.json kept.json
launch 2 train job.yaml "${sets[@]}" --set name=again
check "the ceiling is not measured again" cmp -s cache/vario/ceilings.json kept.json
check "the same bits with a remembered ceiling" same "$(bits again)" "$expected"
echo "{" >cache/vario/ceilings.json
launch 2 train job.yaml "${sets[@]}" --set name=damaged
check "a damaged cache does not matter" exits 0
check "a damaged cache is replaced" test "$(wc -c <cache/vario/ceilings.json)" -gt 20
check "utilization beside a damaged cache" positive damaged model_flops_utilization
sed -i 's/: [0-9.]*/: 0.0001/' cache/vario/ceilings.json
launch 2 train job.yaml "${sets[@]}" --set name=exceeded
check "a run beyond its ceiling" exits 0
check "a ceiling that was exceeded is forgotten" test ! -e cache/vario/ceilings.json
XDG_CACHE_HOME=/dev/null HOME=/dev/null launch 2 train job.yaml "${sets[@]}" --set name=homeless
check "no cache does not matter" exits 0
check "no cache is not spoken of" test ! -s last.err
check "utilization without a cache" positive homeless model_flops_utilization
finish
