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
uses train io runtime posterior model optimizer kernels base
uses analysis train io exact runtime posterior model optimizer kernels base
uses report analysis train io runtime posterior model optimizer kernels base
uses bench train io exact runtime model optimizer kernels base
uses cli report analysis bench train io exact runtime posterior model optimizer kernels base
uses io/files runtime base
uses io/checkpoints io/files runtime optimizer kernels base
uses library io/checkpoints io/files runtime optimizer kernels base include

check 'mpi.h outside its rooms' grep -rnE '#include [<"]mpi\.h' base kernels optimizer posterior model \
    train analysis report bench cli --include='*.[ch]'
check 'exact/ inside out' grep -rnE '#include "exact/(matrix_internal|scalapack)\.h' base kernels \
    optimizer runtime posterior model io train analysis report bench cli library --include='*.[ch]'
check 'ScaLAPACK outside exact/' grep -rniE \
    '(Cblacs|pdgemr2d|pd(potr|syrk|syev|trsm|trtr)[a-z0-9]*)_?\(' base kernels optimizer runtime \
    posterior model io train analysis report bench cli library --include='*.[ch]'

# A machine-wide semaphore of MPI-IO makes every later run wait for ever when its holder dies.
check 'MPI-IO is used' grep -rn 'MPI_File_' base kernels optimizer runtime posterior model io train \
    analysis report bench cli library --include='*.[ch]'
# A path from outside is opened in one place, where a pipe is not waited for, as is a temporary one.
check 'a file is opened outside io/files/' sh -c "
    grep -rnE '[^a-z_>](fopen|open|creat|json_load_file|json_dump_file)\(' base kernels optimizer runtime \
        posterior model io train analysis report cli library --include='*.[ch]' |
        grep -vE '^io/files/|^runtime/free_memory\.c|\"/(proc|sys|dev)/'"

# A circle of headers: every pair "file header", which tsort cannot put in an order.
check 'headers include each other in a circle' sh -c "
    grep -rHoE '^#include \"[^\"]+\"' base kernels optimizer runtime posterior model exact io train \
        analysis report bench cli library --include='*.h' |
        sed -E 's/:#include \"/ /; s/\"\$//' | tsort 2>&1 >/dev/null"

# A circle of calls: objects of one room that need each other's names. Pairs are of files: a header's
# functions may stand in several.
circles() {
    find "$objects" "$library" -name '*.c.o' ! -path '*/tests/*' 2>/dev/null | sort | while read -r object; do
        nm "$object" 2>/dev/null | awk -v file="$object" '
            $1 == "U" { print "U", $2, file }
            $2 ~ /^[TRDBi]$/ { print "D", $3, file }'
    done | awk '
        function short(path) {
            sub(/.*CMakeFiles\/libvario\.dir\//, "library/", path)
            sub(/.*\.dir\//, "", path); sub(/\.c\.o$/, "", path); return path
        }
        $1 == "D" { where[$2] = short($3) }
        $1 == "U" { need[short($3) " " $2] = 1 }
        END {
            for (n in need) {
                split(n, at, " ")
                to = where[at[2]]
                if (to == "" || to == at[1]) continue
                from_room = at[1]; sub(/\/[^\/]*$/, "", from_room)
                to_room = to; sub(/\/[^\/]*$/, "", to_room)
                if (from_room == to_room) print at[1], to
            }
        }' | sort -u | tsort 2>&1 >/dev/null
}
if [ -n "${1:-}" ]; then
    objects=$(dirname "$1")/CMakeFiles
    library=$(dirname "$1")/library/CMakeFiles
    check 'files call each other in a circle' circles
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
