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
# Times of a row: on one rank, what steps do adds up to their time.
adds_up()
{
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        { sum = $at["seconds_sample"] + $at["seconds_forward"] + $at["seconds_backward"] + \
                $at["seconds_wait"] + $at["seconds_update"] + $at["seconds_data"]
          took = $at["seconds"] - before; before = $at["seconds"]
          if (sum < 0.9 * took || sum > 1.001 * took) { bad = 1; print "    " sum " of " took } }
        END { exit bad || NR < 2 }' "$work/runs/$1/metrics.csv"
}
for part in sample forward backward update data; do
    check "seconds of $part" positive run seconds_$part
done
check "the progress line has it" grep -q "% of peak" last.out
check "the ceiling is remembered" test -s cache/vario/ceilings.json

one train job.yaml "${sets[@]}" --set name=alone
check "the seconds of a step add up" adds_up alone

# Elements that the clip cut are counted once, where every rank updates everything, too.
clipped=(--set clip.update=1e-4 --set parallel.shard=none)
one train job.yaml "${sets[@]}" "${clipped[@]}" --set name=clipped-1
launch 2 train job.yaml "${sets[@]}" "${clipped[@]}" --set name=clipped-2
check "the update clip bites" positive clipped-1 update_clip_fraction
check "the same share on two ranks" same "$(column clipped-2 update_clip_fraction)" \
    "$(column clipped-1 update_clip_fraction)"

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

# Rows of a version without the last columns are kept when the run goes on.
launch 2 train job.yaml "${sets[@]}" --set name=older
rows=$(cut -d, -f1-18 runs/older/metrics.csv)
echo "$rows" >runs/older/metrics.csv
launch 2 train job.yaml "${sets[@]}" --set name=older --set steps=30
check "a run with fewer columns goes on" exits 0
check "its rows are kept" same "$(cut -d, -f1-18 runs/older/metrics.csv | head -n 3)" "$rows"
check "every row has every column" same "$(awk -F, '{ print NF }' runs/older/metrics.csv | uniq)" \
    "$(head -n 1 runs/run/metrics.csv | awk -F, '{ print NF }')"
sed -i '1s/lr/rate/' runs/older/metrics.csv
launch 2 train job.yaml "${sets[@]}" --set name=older --set steps=40
check "other columns are refused" exits 2
check "and named" grep -q "^vario: .*metrics.csv" last.err
finish
