#!/usr/bin/env bash
# The page that `vario report` writes of runs, and `vario top`, which follows one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job job.yaml run
sets=(--set steps=20 --set eval.every=10 --set eval.samples=2 --set log.every=5 --quiet)
launch 2 train job.yaml "${sets[@]}"
check "a run" exits 0
one train job.yaml "${sets[@]}" --set name=alone
check "the same on one rank" exits 0
write_job adamw.yaml adamw adamw
launch 2 train adamw.yaml "${sets[@]}" --set eval.samples=0
check "another" exits 0
one eval runs/run --samples 2 --quiet
check "an evaluation is kept" test -s runs/run/evaluation.json
one generate runs/run --prompt 'a <b> & "c"' --tokens 20 --keep --quiet
check "a text is kept" test "$(wc -l <runs/run/samples.jsonl)" = 1

last() { column "$1" "$2" | sed '/^$/d' | tail -n 1; }
says() { grep -q -- "$2" "$1" || { echo "    '$2' not found in $1"; false; }; }
# has FILE VALUE: a cell of the page has the number as metrics.csv has it.
has() { says "$1" "<data value=\"$2\">"; }
well_formed() { xmllint --noout "$1"; }
once() { same "$(grep -o ' id="[^"]*"' "$1" | sort | uniq -d)" ""; }

one report runs/run
page=runs/run/report.html
check "a report" exits 0
check "without warnings" test ! -s last.err
check "says where it is" same "$(cat last.out)" "$page"
check "is well formed" well_formed $page
check "has every id once" once $page
check "names the run" says $page "<h1>run</h1>"
for name in step tokens train_loss valid_loss valid_loss_averaged; do
    check "has the last $name" has $page "$(last run $name)"
done
check "has the calibration" has $page "$(sed -n 's/.*"ece": \([0-9.e+-]*\).*/\1/p' runs/run/evaluation.json |
    awk '{ printf "%.15g", $1 }')"
check "has the text" says $page '<b>a &lt;b&gt; &amp; &quot;c&quot;</b>'
check "has the job" says $page 'hessian_init: 0.001'
for name in loss-tokens loss-time learning-rate gradient-norm sigma hessian sigma-layers hessian-layers \
    speed utilization bytes reliability; do
    check "has a picture $name" says $page "<figure id=\"$name\">"
done
check "asks for nothing else" same "$(grep -cE '(src|href)="(http|/)' $page)" 0

# Several runs.
one report runs/run runs/adamw --out both.html --pictures pictures
check "two runs" exits 0
check "two runs without warnings" test ! -s last.err
check "two runs are well formed" well_formed both.html
check "every id once" once both.html
for name in run adamw; do
    check "names $name" says both.html "<th>$name</th>"
    check "has the loss of $name" has both.html "$(last $name train_loss)"
    check "tells where the jobs differ" says both.html "<td>optimizer.kind</td>"
done
check "says what is missing" says both.html "adamw: not evaluated"
check "says that no text is kept" says both.html "adamw: no text is kept"
named=$(sed -n 's/.*adamw: not evaluated.*vario \(eval .*\). says how.*/\1/p' both.html)
# shellcheck disable=SC2086  # its words are arguments
one $named --quiet
check "the command that it names" exits 0
check "different jobs are no scaling study" same "$(grep -c "<h2>Scaling" both.html)" 0
check "a PNG" same "$(head -c 4 pictures/loss-tokens.png | tail -c 3)" PNG
check "an SVG" says pictures/loss-tokens.svg "adamw"

# A scaling study: its bytes are those of the plan.
one report runs/alone runs/run --out scaling.html
check "a scaling study" says scaling.html "<h3>Strong scaling</h3>"
check "of one job" says scaling.html "None but the name"
speed() { column "$1" tokens_per_second | tail -n +2 | sort -g | awk '{ v[NR] = $1 }
    END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
number() { grep "<td>run</td>" scaling.html | tail -n 1 | grep -o 'value="[^"]*"' | sed -n "$1s/.*\"\(.*\)\"/\1/p"; }
check "efficiency" near "$(number 5)" \
    "$(awk -v a="$(speed alone)" -v b="$(speed run)" 'BEGIN { print 50 * b / a }')" 1e-4
check "what five items allow on two ranks" near "$(number 6)" 83.3333333 1e-6
one plan job.yaml --ranks 2 --json
planned=$(grep -o '"stage": "gradients"[^}]*}[^}]*}' last.out | sed 's/.*"total": \([0-9]*\)}$/\1/')
check "bytes of the plan" near "$(number 8)" "$(awk -v b="$planned" 'BEGIN { print b / 1e6 }')" 1e-6
check "bytes that were sent" near "$(number 7)" "$(awk -v b="$(last run bytes_sent)" 'BEGIN { print b / 1e6 }')" 1e-6

# What is not whole, and what is refused.
cp -r runs/run runs/torn
printf '25,80' >>runs/torn/metrics.csv
one report runs/torn
check "a torn row is left out" says runs/torn/report.html "last row of metrics.csv is torn"
cp -r runs/alone runs/broken
sed -i '/"finished"/d' runs/broken/events.jsonl
one report runs/broken
check "a run that broke off" says runs/broken/report.html "broken off after step 20 of"
printf '{"prompt' >>runs/broken/samples.jsonl
one generate runs/broken --prompt "$(printf 'caf\351')" --tokens 5 --keep --quiet
one report runs/broken
check "a text after a torn one, not all of it UTF-8" says runs/broken/report.html "<b>caf�</b>"
cp -r runs/alone runs/empty
rm runs/empty/metrics.csv runs/empty/events.jsonl
one report runs/empty
check "a run of no steps" says runs/empty/report.html "no steps are logged"
check "is well formed, too" well_formed runs/empty/report.html
cp -r runs/alone runs/header
sed -i 1q runs/header/metrics.csv
one report runs/header
check "a run of a header alone" says runs/header/report.html "no steps are logged"
check "is well formed" well_formed runs/header/report.html
odd="runs/it's <a> & b"
cp -r runs/alone "$odd"
one report runs/alone "$odd" --out odd.html --pictures odd
check "a path that needs quotes" says odd.html "it's &lt;a&gt; &amp; b"
check "without warnings" test ! -s last.err
check "is well formed, too" well_formed odd.html
launch 2 report runs/alone --out ranks.html
check "a report by two ranks" exits 0
check "is one page" same "$(cat last.out)" ranks.html
cp -r runs/alone runs/long
awk -F, 'BEGIN { OFS = FS } NR == 1 { print; next } { row = $0 }
    END { $0 = row; for (i = 1; i <= 1001; i++) { $1 = i; $2 = 10 * i; $7 = i < 1000 ? 1 : 50; print } }' \
    runs/alone/metrics.csv >runs/long/metrics.csv
one report runs/long --pictures long
check "a run of more rows than points" exits 0
check "is drawn to its end" says long/learning-rate.svg ">50<"
cp -r runs/run runs/null
jq '.nll = null | .by_position[].nll = null | .reliability[].accuracy = null' \
    runs/run/evaluation.json >runs/null/evaluation.json
one report runs/null
check "values that are not finite" exits 0
check "have no picture" same "$(grep -c '<figure id="\(reliability\|positions\)">' runs/null/report.html)" 0
cp -r runs/alone runs/unread
mkdir runs/unread/samples.jsonl
one report runs/unread
check "a file that cannot be read is refused" exits 2
check "by its path" says last.err "runs/unread/samples.jsonl: a file of text expected, no regular file"
cp -r runs/alone runs/endless
truncate -s 4G runs/endless/evaluation.json
one report runs/endless
check "a file without an end is refused" exits 2
check "by its size" says last.err "endless/evaluation.json: 4294967296 bytes found, at most"
cp -r runs/alone runs/damaged
sed -i '3s/,[0-9.]*,/,x,/' runs/damaged/metrics.csv
one report runs/damaged
check "a damaged file is refused" exits 2
check "by its line" says last.err "damaged/metrics.csv:3: 'x' found"
check "and no page is written" test ! -e runs/damaged/report.html
one report runs/nowhere
check "no run is refused" exits 2
check "by its name" says last.err "runs/nowhere: a run directory expected"
one report runs/run --out nowhere/page.html
check "a page that cannot be written" exits 3
one generate runs/run/step-00000020 --prompt a --tokens 1 --keep
check "texts are not kept in checkpoints" exits 2

# Following runs.
one top runs/alone --once
check "top --once" exits 0
check "has the step" says last.out "step 20/20"
sed -i '/"finished"/d' runs/alone/events.jsonl
one train job.yaml "${sets[@]}" --set name=alone
check "a run that was killed before it said that it finished" exits 0
one top runs/alone
check "top of a finished run" exits 0
check "says so" says last.out "finished at step 20"
sed 's/"finished"/"stopped"/' runs/torn/events.jsonl >events.jsonl
mv events.jsonl runs/torn
one top runs/torn
check "top of a run that was stopped" exits 75
one top runs/broken
check "top of a run that broke off" exits 3
check "says that" says last.err "broken off after step 20"
one top runs/nowhere
check "top of nothing" exits 2
one top runs/empty
check "top of a run that was never begun" exits 2

"$program" top runs/live --wait >top.out 2>top.err &
top=$!
one train job.yaml "${sets[@]}" --set name=live --set steps=200
check "top ends with the run" ended $top 20
wait $top && code=0 || code=$?
check "top of a run from its beginning" exits 0
check "says that it waits" says top.out "nothing is there yet"
check "has its first row" says top.out "step 5/200  loss"
check "has its last row" says top.out "step 200/200  loss"
check "has no row twice" same "$(grep '^step' top.out | sort | uniq -d)" ""

"$program" train job.yaml "${sets[@]}" --set name=killed --set steps=1000000 &
train=$!
until [ "$(logged killed)" -gt 2 ] || ! running $train; do sleep 0.1; done
check "a run to follow" running $train
"$program" top runs/killed >top.out 2>top.err &
top=$!
if command -v script >/dev/null; then
    script -qec "stty cols 30 rows 10; exec $program top runs/killed" screen.out >/dev/null &
    screen=$!
fi
sleep 2
kill -KILL $train || true
check "top ends when the run is killed" ended $top 20
wait $top && code=0 || code=$?
check "and says so with its exit code" exits 3
check "and in words" says top.err "broken off after step"
if [ -n "${screen:-}" ]; then
    check "on a terminal, too" ended $screen 20
    check "which gets its screen back" grep -q "$(printf '\033\\[?1049l')" screen.out
    check "where lines are as wide as the window" awk '
        /\033\[\?1049l/ { exit } /\033\[K/ { gsub(/\033\[[?0-9;]*[A-Za-z]|\r/, ""); n++
            if (length($0) > 30) { print "    " $0; exit bad = 1 } } END { exit bad || n < 5 }' screen.out
fi
finish
