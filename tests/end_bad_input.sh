#!/usr/bin/env bash
# Everything that a user can get wrong ends in exit code 2 and one sentence on stderr that begins
# with "vario: " and names what is wrong; never in a hang or a crash. On one rank without mpirun, and
# on three.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
patience=60
make_data

# flip FILE OFFSET: change one byte.
flip()
{
    local byte
    byte=$(od -An -tu1 -j "$2" -N1 "$1")
    # shellcheck disable=SC2059
    printf "\\$(printf '%03o' $(((byte + 128) % 256)))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# What mpirun adds about a launch that ended with a code other than 0.
without_chatter()
{
    grep -v -e '^-*$' -e '^\[warn\] Epoll' -e '^Primary job  *terminated' -e '^a non-zero exit code' \
        -e '^mpirun detected that' -e '^ *Process name: ' -e '^ *Exit code: ' \
        -e 'more processes exited with non-zero status' \
        -e '^the job to be terminated\.' "$1" || true
}

one_sentence()
{
    local lines
    lines=$(without_chatter "$work/last.err")
    exits "$1" || return 1
    same "$(printf '%s\n' "$lines" | grep -c .)" 1 || return 1
    printf '%s\n' "$lines" | grep -q '^vario: ' || { echo "    no 'vario: ' in it"; return 1; }
    printf '%s\n' "$lines" | grep -qiE -e "$2" || { echo "    nothing like '$2' in it"; return 1; }
}

# The program is started anew for every tenth of them, and asked as a server for the others.
go() { if [ "$size" -eq 1 ]; then one "$@"; else launch "$size" "$@"; fi; }

# refuse NAME PATTERN ARGUMENT...: exit code $wrong, one sentence that matches.
wrong=2
number=0
every=1 # which of them are tried
refuse()
{
    local name=$1 pattern=$2
    shift 2
    number=$((number + 1))
    [ $((number % every)) -eq 0 ] || return 0
    [ $((number / every % 10)) -eq 0 ] || ${anew:-false} || served=true
    go "$@"
    served=false
    check "$size ranks: $name" one_sentence $wrong "$pattern"
}

# bad NAME PATTERN SED...: the job file with an edit is refused.
bad()
{
    local name=$1 pattern=$2
    shift 2
    sed "$@" base.yaml >bad.yaml
    ! cmp -s base.yaml bad.yaml || { echo "the edit of '$name' changes nothing"; exit 1; }
    refuse "$name" "$pattern" train bad.yaml
}

job_files()
{
    refuse "absent job" "nowhere.yaml" train nowhere.yaml
    refuse "a directory for a job" "data" train data
    : >empty.yaml
    refuse "empty job" "empty.yaml" train empty.yaml
    head -c 300 /dev/urandom >noise.yaml
    refuse "a job of random bytes" "noise.yaml" train noise.yaml
    bad "broken YAML" "bad.yaml:[0-9]+" 's/^model: .*/model: {kind: gpt2/'
    bad "a tab for indentation" "bad.yaml:[0-9]+" 's/^steps: 50/steps:\n\t- 50/'
    bad "unknown key" "bad.yaml:[0-9]+:[0-9]+.*stepz.*steps" 's/^steps:/stepz:/'
    bad "unknown nested key" "bad.yaml:[0-9]+:[0-9]+.*n_layers.*n_layer" 's/n_layer:/n_layers:/'
    bad "key twice" "bad.yaml:[0-9]+:[0-9]+.*seed" 's/^seed: 7/seed: 7\nseed: 8/'
    bad "a list for a section" "bad.yaml:[0-9]+:[0-9]+.*model" 's/^model: .*/model: [1, 2]/'
    bad "a section for a number" "bad.yaml:[0-9]+:[0-9]+.*steps" 's/^steps: 50/steps: {a: 1}/'
    bad "two documents" "bad.yaml" '$a\---\nname: other'
    bad "no model" "model|n_layer|vocab|preset" '/^model:/d'
    bad "no training data" "data.train" '/^data:/d'
    bad "no steps" "steps" '/^steps:/d'
    bad "text for a number" "steps.*many" 's/^steps: 50/steps: many/'
    bad "a fraction for a count" "steps.*1\.5" 's/^steps: 50/steps: 1.5/'
    bad "negative steps" "steps.*-50" 's/^steps: 50/steps: -50/'
    bad "no sequence" "sequences.*0" 's/sequences: 2/sequences: 0/'
    bad "negative seed" "seed.*-7" 's/^seed: 7/seed: -7/'
    bad "a seed beyond 64 bits" "seed" 's/^seed: 7/seed: 99999999999999999999999/'
    bad "name with a slash" "name" "s|^name: .*|name: ../x|"
    bad "empty name" "name" 's/^name: .*/name: ""/'
    bad "unknown model" "kind.*gpt3" 's/kind: gpt2/kind: gpt3/'
    bad "unknown preset" "preset.*gpt2-9m" 's/kind: gpt2/kind: gpt2, preset: gpt2-9m/'
    bad "heads that do not divide the width" "n_embd|n_head" 's/n_head: 2/n_head: 5/'
    bad "no layers" "n_layer.*0" 's/n_layer: 2/n_layer: 0/'
    bad "a vocabulary beyond 16 bits" "vocab_size.*70000" 's/vocab_size: 256/vocab_size: 70000/'
    bad "sequences longer than the block" "length.*block_size|block_size.*length" \
        's/length: 32/length: 64/'
    bad "dropout of everything" "dropout.*1" 's/vocab_size: 256/vocab_size: 256, dropout: 1.0/'
    bad "unknown optimizer" "kind.*adam" 's/kind: ivon/kind: adam/'
    bad "ess 0" "ess" 's/ess: 1.0e+6/ess: 0/'
    bad "negative initial Hessian" "hessian_init" 's/hessian_init: 1.0e-3/hessian_init: -1.0e-3/'
    bad "beta2 of 1" "beta2" 's/beta2: 0.999/beta2: 1.0/'
    bad "an ess that is no number" "ess.*nan" 's/ess: 1.0e+6/ess: .nan/'
    bad "unknown schedule" "schedule.kind|kind.*sine" 's/kind: cosine/kind: sine/'
    bad "an infinite peak" "peak" 's/peak: 2.0/peak: .inf/'
    bad "negative clip" "norm.*-1" 's/norm: 1.0/norm: -1.0/'
    bad "unknown clip scope" "scope.*layer" 's/scope: microbatch/scope: layer/'
    bad "unknown precision" "precision.*fp16" '$a\precision: fp16'
    bad "unknown stage" "shard.*zero3" 's/threads: 1/threads: 1, shard: zero3/'
    bad "unknown wire" "wire.*int8" 's/threads: 1/threads: 1, wire: int8/'
    bad "unknown recompute" "recompute.*all" '$a\recompute: all'
    bad "unknown on_error" "on_error.*pray" 's/keep: 3/keep: 3, on_error: pray/'
    wrong=3 # memory is a resource
    bad "more than memory holds" "memory|bytes" \
        's/n_layer: 2, n_head: 2, n_embd: 32/n_layer: 900, n_head: 2, n_embd: 65536/'
    wrong=2

    refuse "--set of an unknown key" "stepz.*steps" train base.yaml --set stepz=5
    refuse "--set of a word for a number" "steps.*many" train base.yaml --set steps=many
    refuse "--set without =" "steps" train base.yaml --set steps
    refuse "--set without a key" "=5" train base.yaml --set =5
    refuse "--set of a section" "model" train base.yaml --set model=5
    refuse "--set without an argument" "--set" train base.yaml --set
    refuse "--set out of range" "n_head.*0" train base.yaml --set model.n_head=0
}

command_lines()
{
    refuse "no verb" "verb|usage|help"
    refuse "unknown verb" "trian.*train" trian base.yaml
    refuse "unknown option" "--frehs" train base.yaml --frehs
    refuse "no job" "job|yaml" train
    refuse "two jobs" "base.yaml|argument" train base.yaml base.yaml
    refuse "eval without a run" "run" eval
    refuse "eval of an absent run" "runs/none" eval runs/none
    mkdir -p runs/empty
    refuse "eval of a run without checkpoints" "runs/empty" eval runs/empty
    refuse "eval --samples many" "samples.*many" eval runs/whole --samples many
    refuse "generate from an absent run" "runs/none" generate runs/none --prompt x
    refuse "generate from an empty prompt" "prompt" generate runs/whole --prompt ""
    refuse "generate at a temperature below 0" "temperature.*-1" \
        generate runs/whole --prompt x --temperature -1
    refuse "generate with --top-p 2" "top-p.*2" generate runs/whole --prompt x --top-p 2
    mkdir -p ascii
    cp data/train.bin ascii
    go train base.yaml --set name=ascii --set steps=5 --set model.vocab_size=128 \
        --set data.train=ascii/train.bin --set data.valid=ascii/train.bin
    check "$size ranks: a vocabulary of ASCII" exits 0
    refuse "a prompt beyond the vocabulary" "prompt.*233" generate runs/ascii --prompt $'\xe9'
    local size=1 # plan and prepare are not launched
    refuse "plan for 0 ranks" "ranks.*0" plan base.yaml --ranks 0
    refuse "plan for many ranks" "ranks.*many" plan base.yaml --ranks many
    refuse "prepare without --out" "out" prepare text.txt
    refuse "prepare an absent text" "nowhere.txt" prepare nowhere.txt --out prepared
    refuse "prepare a directory" "data" prepare data --out prepared
    refuse "prepare --valid 2" "valid.*2" prepare text.txt --out prepared --valid 2
    : >empty.txt
    refuse "prepare an empty text" "empty.txt|token" prepare empty.txt --out prepared
    refuse "prepare into a file" "text.txt" prepare text.txt --out text.txt/below
}

# More than there is: warned of where nothing is taken, refused where it would be. Control groups need
# root.
memory()
{
    local size=1 group huge=(--set model.n_layer=96 --set model.n_embd=65536)
    one plan base.yaml "${huge[@]}"
    check "plan of what no node has" grep -q "warning: base: .*need .* GB are free of the" last.err
    one train base.yaml --dry-run --set name=work "${huge[@]}"
    check "a dry run of what no node has" grep -q "warning: work: .*GB are free of the" last.out
    check "plans that do not fit are plans" exits 0
    wrong=3
    refuse "what no node has" "work: rank 0 is to take .* GB are free of the" train base.yaml \
        --set name=work "${huge[@]}"
    group=/sys/fs/cgroup/memory
    [ -e $group/memory.limit_in_bytes ] || group=/sys/fs/cgroup
    group=$group/vario-test-$$
    if mkdir "$group" 2>/dev/null; then
        { echo 100M >"$group/memory.limit_in_bytes" || echo 100M >"$group/memory.max"; } 2>/dev/null || true
        if grep -qsx 104857600 "$group"/memory.limit_in_bytes "$group"/memory.max; then
            (echo $BASHPID >"$group/cgroup.procs" && one train base.yaml --set name=work \
                --set model.n_embd=1024 && exit "$code") || code=$?
            check "a control group" one_sentence 3 "work: .* free of the 0.1049 GB of control group /.*vario-test"
        fi
        for _ in {1..100}; do # the kernel lets go of processes a moment after their end
            ! rmdir "$group" 2>/dev/null || break
            sleep 0.05
        done
    fi
    wrong=2
    rm -rf runs/work
}

# A valid file of 2000 tokens, all 65.
plain_tokens() { head -c 4000 /dev/zero | tr '\0' 'A' | sed 's/AA/A\x00/g' | head -c 4000; }
# llm_c VERSION COUNT: a header of 1024 bytes.
int32()
{
    local n=$(($1 & 0xffffffff)) i
    # shellcheck disable=SC2059
    for i in 0 8 16 24; do printf "\\$(printf '%03o' $(((n >> i) & 255)))"; done
}
llm_c() { int32 20240520; int32 "$1"; int32 "$2"; head -c 1012 /dev/zero; }

token_files()
{
    local train=(train base.yaml --set name=tokens --set)
    mkdir -p bad
    refuse "absent training data" "bad/none" "${train[@]}" "data.train=bad/none*.bin"
    refuse "absent validation data" "bad/none" "${train[@]}" "data.valid=bad/none.bin"
    mkdir -p bad/directory.bin
    refuse "a directory of tokens" "bad/directory.bin" "${train[@]}" data.train=bad/directory.bin
    : >bad/empty.bin
    refuse "empty tokens" "bad/empty.bin" "${train[@]}" data.train=bad/empty.bin
    plain_tokens | head -c 3999 >bad/odd.bin
    refuse "an odd number of bytes" "bad/odd.bin" "${train[@]}" data.train=bad/odd.bin
    plain_tokens | head -c 64 >bad/short.bin
    refuse "less than a window" "bad/short.bin|window" "${train[@]}" data.train=bad/short.bin
    { llm_c 2 2000; plain_tokens; } >bad/version.bin
    refuse "an unknown version" "bad/version.bin.*2" "${train[@]}" data.train=bad/version.bin
    llm_c 1 2000 | head -c 512 >bad/header.bin
    refuse "half a header" "bad/header.bin" "${train[@]}" data.train=bad/header.bin
    { llm_c 1 2001; plain_tokens; } >bad/fewer.bin
    refuse "fewer tokens than the header says" "bad/fewer.bin.*200[01]" \
        "${train[@]}" data.train=bad/fewer.bin
    { llm_c 1 1999; plain_tokens; } >bad/more.bin
    refuse "more tokens than the header says" "bad/more.bin" "${train[@]}" data.train=bad/more.bin
    { llm_c 1 -1; plain_tokens; } >bad/negative.bin
    refuse "a negative count" "bad/negative.bin" "${train[@]}" data.train=bad/negative.bin
    refuse "tokens of a larger vocabulary" "meta.json.*256|vocab.*256" \
        "${train[@]}" model.vocab_size=100
    { plain_tokens; printf '\000\001'; plain_tokens; } >bad/large.bin
    refuse "a training token beyond the vocabulary" "bad/large.bin.*2000.*256|bad/large.bin.*256" \
        "${train[@]}" data.train=bad/large.bin
    rm -rf runs/tokens
    refuse "a validation token beyond the vocabulary" "bad/large.bin.*256" \
        "${train[@]}" data.valid=bad/large.bin --set eval.batches=1000
    rm -rf runs/tokens
    mkdir -p bad/meta
    plain_tokens >bad/meta/train.bin
    echo '{"vocab_size": ' >bad/meta/meta.json
    refuse "a torn meta.json" "meta.json" "${train[@]}" data.train=bad/meta/train.bin
}

# damage NAME PATTERN FILE COMMAND...: a copy of the whole run whose file the command (on the path
# $file) changes is refused when training goes on.
damage()
{
    local name=$1 pattern=$2
    file=runs/damaged/step-00000005/$3
    shift 3
    rm -rf runs/damaged
    cp -r runs/whole runs/damaged
    "$@"
    refuse "$name" "$pattern" train base.yaml --set name=damaged --set steps=6
}
cut_to() { truncate -s "$1" "$file"; }
flip_at() { flip "$file" "$1"; }
remove() { rm "$file"; }
extend() { printf x >>"$file"; }

checkpoints()
{
    local files="model posterior optimizer" of header bytes at tensor=wte
    ! $is_short || files=posterior
    for of in $files; do
        file=runs/whole/step-00000005/$of.safetensors
        header=$(od -An -tu8 -N8 "$file" | tr -d ' ')
        bytes=$(stat -c %s "$file")
        if [ "$header" -lt 100 ] || [ "$bytes" -lt "$header" ]; then
            echo "what is $file?"
            exit 1
        fi
        for at in 0 4 8 $((8 + header / 2)) $((8 + header)) $((8 + header + 4)) \
            $((8 + header + 256 * 32 * 4)) $((bytes - 1)); do
            damage "$of cut to $at bytes" "$of.safetensors" "$of".safetensors cut_to "$at"
        done
        damage "$of with a byte too many" "$of.safetensors" "$of".safetensors extend
        damage "$of with another header length" "$of.safetensors" "$of".safetensors flip_at 0
        damage "$of with a huge header" "$of.safetensors" "$of".safetensors flip_at 7
        damage "$of with another header" "$of.safetensors" "$of".safetensors flip_at 30
        damage "$of with another first value" "$of.safetensors.*$tensor|$tensor.*$of.safetensors" \
            "$of".safetensors flip_at $((8 + header + 1))
        damage "$of with another last value" "$of.safetensors.*ln_f|ln_f.*$of.safetensors" \
            "$of".safetensors flip_at $((bytes - 1))
        damage "$of gone" "$of.safetensors" "$of".safetensors remove
    done
    bytes=$(stat -c %s runs/whole/step-00000005/state.json)
    for at in 0 1 $((bytes / 2)) $((bytes - 3)); do
        damage "state.json cut to $at bytes" "state.json" state.json cut_to "$at"
    done
    damage "state.json with another byte" "state.json" state.json flip_at $((bytes / 3))
    damage "state.json gone" "state.json" state.json remove

    # An older whole checkpoint is used, and the user told.
    rm -rf runs/damaged
    go train base.yaml --set name=damaged --set steps=6 --set checkpoint.every=2
    check "$size ranks: three checkpoints" exits 0
    flip "$(last_checkpoint damaged)/model.safetensors" 20000
    go train base.yaml --set name=damaged --set steps=8
    check "$size ranks: goes on from an older checkpoint" exits 0
    check "$size ranks: from step 4" same "$(resumed_step)" 4
    check "$size ranks: names the altered file" grep -q "^vario: .*step-00000006/model.safetensors" \
        last.err
    rm -rf runs/damaged
}

runs()
{
    rm -rf runs/damaged
    cp -r runs/whole runs/damaged
    refuse "another seed on resume" "seed" train base.yaml --set name=damaged --set seed=9
    refuse "another width on resume" "n_embd" train base.yaml --set name=damaged \
        --set model.n_embd=64
    refuse "output below a file" "text.txt" train base.yaml --set output=text.txt/runs
    : >runs/file
    refuse "a file in place of the run" "runs/file" train base.yaml --set name=file
    refuse "absent initial weights" "nowhere" train base.yaml --set name=init \
        --set model.init=nowhere
    refuse "initial weights of another shape" "wte|wpe|shape|n_embd" train base.yaml \
        --set name=init --set model.n_embd=64 --set model.init=runs/whole/step-00000005

    wrong=3 # training broke down: stopped with a checkpoint
    refuse "steps that are not finite" "max_skipped.*wte" train base.yaml --set name=nan \
        --set schedule.peak=1.0e+30 --set clip.norm=.inf --set guard.max_skipped=2
    wrong=2
    check "$size ranks: a checkpoint of a run that broke down" test -n "$(last_checkpoint nan)"

    # A run in use.
    timeout $patience "$program" train base.yaml --set name=busy --set steps=1000000 \
        --set checkpoint.every=100000 --set log.every=1000 >/dev/null 2>&1 </dev/null &
    local busy=$! left=200
    until [ -s runs/busy/events.jsonl ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 0.05; done
    refuse "a run in use" "busy" train base.yaml --set name=busy
    kill "$busy" || true # to timeout, which passes it on
    { wait $busy || true; } 2>/dev/null

    # The launch.
    if [ "$size" -gt 1 ]; then
        refuse "more ranks than work" "ranks|microbatches" train base.yaml --set name=work \
            --set batch.microbatches=2
    fi
    if [ "$size" -eq 1 ]; then
        export SLURM_STEP_NUM_TASKS=8 SLURM_PROCID=0
        anew=true refuse "many worlds of one rank" "8 tasks.*one world" train base.yaml --set name=work
        unset SLURM_STEP_NUM_TASKS SLURM_PROCID
    fi
}

cases()
{
    size=$1
    mkdir "$work/$size"
    cp -r "$work/data" "$work/text.txt" "$work/$size"
    work=$work/$size
    cd "$work"
    export OMPI_MCA_orte_tmpdir_base=$work # two launches at once race for a common one
    write_job base.yaml base
    sed -i "s|^output: .*|output: runs|; s|$work/data|data|g" base.yaml
    launch 2 train base.yaml --set name=damaged --set steps=5 --set eval.every=0
    check "a run to damage" exits 0
    if [ ! -d runs/damaged/step-00000005 ]; then finish; return; fi
    mv runs/damaged runs/whole
    command_lines
    token_files
    runs
    [ "$size" -ne 1 ] || memory
    # Rank 0 reads job files and looks after checkpoints for all: a third of the cases will do.
    [ "$size" -eq 1 ] || every=3
    job_files
    checkpoints
    check "nothing was left in place of runs that never began" test ! -e runs/work -a ! -e prepared
    finish
}

# Both launch sizes at once: most of the time goes into starting processes.
top=$work
(cases 1) >"$top/1.log" 2>&1 &
first=$!
result=0
! $is_short && { (cases 3) >"$top/3.log" 2>&1 || result=1; }
wait $first || result=1
cat "$top"/[13].log
exit $result
