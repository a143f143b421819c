# Runs of a job on several numbers of ranks, whose bits are compared. Sourced after end_common.bash; jobs
# write to $work/runs.

# sums NAME: of the files of tensors of the last checkpoint.
sums() { (cd "$(last_checkpoint "$1")" && basename "$PWD" && sha256sum ./*.safetensors); }
differ() { check "$1 and $2 differ" test "$(sums "$1" | tail -n +2)" != "$(sums "$2" | tail -n +2)"; }

# train NAME RANKS JOB [KEY=VALUE...]
train()
{
    local name=$1 ranks=$2 job=$3 sets=(--set "name=$1") pair
    shift 3
    for pair in "$@"; do sets+=(--set "$pair"); done
    if [ "$ranks" -eq 1 ]; then one train "$job" "${sets[@]}"; else launch "$ranks" train "$job" "${sets[@]}"; fi
    check "$name trains on $ranks" exits 0
}

# everywhere NAME RANKS JOB [KEY=VALUE...]: on one rank, and to the same bits on each of RANKS.
everywhere()
{
    local name=$1 list=$2 ranks
    train "$name-1" 1 "${@:3}"
    check "$name: files of tensors" test "$(sums "$name-1" | wc -l)" -ge 3
    for ranks in $list; do
        train "$name-$ranks" "$ranks" "${@:3}"
        check "bits of $name on $ranks ranks" same "$(sums "$name-$ranks")" "$(sums "$name-1")"
        check "losses of $name on $ranks ranks" same \
            "$(column "$name-$ranks" train_loss; column "$name-$ranks" valid_loss)" \
            "$(column "$name-1" train_loss; column "$name-1" valid_loss)"
    done
}
