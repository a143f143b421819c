#!/bin/sh
# Who may include what (docs/architecture.md). Rooms from the ground up, each may use those that are
# named; no two files include or call each other in a circle; mpi.h and ScaLAPACK stay in their rooms.
set -eu
cd "$(dirname "$0")/.."
passed=0
failed=0

check() { # check WHAT COMMAND...: passes where the command prints nothing
    what=$1
    shift
    found=$("$@" || true)
    if [ -z "$found" ]; then
        passed=$((passed + 1))
    else
        printf '%s\nFAILED: %s\n' "$found" "$what"
        failed=$((failed + 1))
    fi
}

# uses ROOM ROOM...: the first includes headers of itself and of these alone
uses() {
    room=$1
    allowed=$(echo "$@" | tr ' ' '|')
    check "$room includes what it must not" sh -c "grep -rnE '#include \"' $room --include='*.[ch]' |
        grep -vE '#include \"($allowed)/'"
}

uses base
uses kernels base
uses optimizer kernels base
uses runtime optimizer kernels base
uses posterior optimizer kernels base
uses model kernels base
uses exact runtime kernels base
uses io runtime model optimizer kernels base
uses tune io runtime model optimizer kernels base
uses train io runtime posterior model optimizer kernels base
uses analysis train io exact runtime posterior model optimizer kernels base
uses report analysis tune train io runtime posterior model optimizer kernels base
uses bench train io exact runtime model optimizer kernels base
uses cli report analysis bench tune train io exact runtime posterior model optimizer kernels base
uses io/files runtime base
uses io/checkpoints io/files runtime optimizer kernels base
uses library io/checkpoints io/files runtime optimizer kernels base include

check 'mpi.h outside its rooms' grep -rnE '#include [<"]mpi\.h' base kernels optimizer posterior model \
    tune train analysis report bench cli --include='*.[ch]'
check 'exact/ inside out' grep -rnE '#include "exact/(matrix_internal|scalapack)\.h' base kernels \
    optimizer runtime posterior model io tune train analysis report bench cli library --include='*.[ch]'
check 'ScaLAPACK outside exact/' grep -rniE \
    '(Cblacs|pdgemr2d|pd(potr|symm|syrk|syev|trsm|trtr)[a-z0-9]*)_?\(' base kernels optimizer runtime \
    posterior model io tune train analysis report bench cli library --include='*.[ch]'

# A machine-wide semaphore of MPI-IO makes every later run wait for ever when its holder dies.
check 'MPI-IO is used' grep -rn 'MPI_File_' base kernels optimizer runtime posterior model io tune train \
    analysis report bench cli library --include='*.[ch]'
# A path from outside is opened in one place, where a pipe is not waited for, as is a temporary one.
check 'a file is opened outside io/files/' sh -c "
    grep -rnE '[^a-z_>](fopen|open|creat|json_load_file|json_dump_file)\(' base kernels optimizer runtime \
        posterior model io tune train analysis report cli library --include='*.[ch]' |
        grep -vE '^io/files/|^runtime/(free_memory|nodes)\.c|\"/(proc|sys|dev)/'"

# A circle of headers: every pair "file header", which tsort cannot put in an order.
check 'headers include each other in a circle' sh -c "
    grep -rHoE '^#include \"[^\"]+\"' base kernels optimizer runtime posterior model exact io tune train \
        analysis report bench cli library --include='*.h' |
        sed -E 's/:#include \"/ /; s/\"\$//' | tsort 2>&1 >/dev/null"

# A circle of calls: objects of one room that need each other's names. Pairs are of files: a header's
# functions may stand in several.
circles() {
    find "$objects" "$library" -name '*.c.o' ! -path '*/tests/*' -exec nm -A {} + 2>/dev/null | awk '
        {
            at = index($0, ".c.o:")
            file = substr($0, 1, at - 1)
            sub(/.*CMakeFiles\/libvario\.dir\//, "library/", file)
            sub(/.*\.dir\//, "", file)
            if (!(file in there)) { # not of a source that is gone
                there[file] = (getline line <(file ".c")) >= 0
                close(file ".c")
            }
            if (!there[file]) next
            if ($(NF - 1) == "U") need[file " " $NF] = 1
            else if ($(NF - 1) ~ /^[TRDBi]$/) where[$NF] = file
        }
        END {
            for (n in need) {
                split(n, pair, " ")
                from = pair[1]; to = where[pair[2]]
                if (to == "" || to == from) continue
                from_room = from; sub(/\/[^\/]*$/, "", from_room)
                to_room = to; sub(/\/[^\/]*$/, "", to_room)
                if (from_room == to_room) { print from, to; pairs++ }
            }
            if (pairs < 100) print "none to/speak/of none" # calls that were not found at all
        }' 2>&1 | sort -u | tsort 2>&1 >/dev/null
}
if [ -n "${1:-}" ]; then
    objects=$(dirname "$1")/CMakeFiles
    library=$(dirname "$1")/library/CMakeFiles
    check 'files call each other in a circle' circles
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
