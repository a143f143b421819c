#!/bin/sh
# run_mpi_tests.sh PROGRAM RANKS: run the tests of PROGRAM in one launch; each names itself once it
# is done. TEST_ONLY=NAME runs one.
set -eu
program=$1
ranks=$2
. "$(dirname "$0")/../scripts/mpi-env"
export OMPI_MCA_hwloc_base_binding_policy=none # another launch may run beside
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export OMP_WAIT_POLICY=passive # threads that wait leave the processor to other ranks
output=/tmp/vario-test-$$
failed=0
TEST_RANKS=$ranks mpirun -n "$ranks" "$program" -j1 >$output 2>&1 || failed=1
passed=$(grep -c '^ran ' $output || true)
[ "$failed$passed" != 00 ] || failed=1 # none ran
if [ "$failed" -gt 0 ]; then
    echo "FAILED: $program on $ranks ranks"
    cat $output
fi
rm -f $output
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
