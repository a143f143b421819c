#!/bin/sh
# run_mpi_tests.sh PROGRAM RANKS: run each Criterion test of PROGRAM under an mpirun of its own
# (MPI cannot start twice in one launch, and Criterion forks for every test).
set -eu
program=$1
ranks=$2
. "$(dirname "$0")/../scripts/mpi-env"
export OMPI_MCA_hwloc_base_binding_policy=none # another launch may run beside
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
tests=$("$program" --list | awk '/: [0-9]+ tests?$/ { sub(/: [0-9]+ tests?$/, ""); suite = $0; next } { print suite "/" $NF }')
[ -n "$tests" ] || { echo "$program lists no tests"; exit 1; }
passed=0
failed=0
for name in $tests; do
    if TEST_RANKS=$ranks mpirun -n "$ranks" "$program" -j1 --filter "$name" >"/tmp/vario-test-$$" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name on $ranks ranks"
        cat "/tmp/vario-test-$$"
    fi
done
rm -f "/tmp/vario-test-$$"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
