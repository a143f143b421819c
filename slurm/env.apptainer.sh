# shellcheck shell=bash disable=SC2034
# vario in a container, with the host's MPI (the bind model): copy this file to env.sh beside the
# batch scripts and put your own paths in. The image has vario and everything but the MPI that it
# runs with; that comes from the host, so that it knows the host's network and PMIx. Both must be
# Open MPI of the same major version (libmpi.so.40 is Open MPI 4 and 5).
image=$HOME/vario.sif
mpi=/opt/openmpi # on the host: the directory with lib/libmpi.so

# Ranks are started by the host's srun, each in a container of its own.
export APPTAINER_BIND="$mpi,$PWD${APPTAINER_BIND:+,$APPTAINER_BIND}"
export APPTAINERENV_PREPEND_PATH=$mpi/bin
export APPTAINERENV_LD_LIBRARY_PATH=$mpi/lib
export APPTAINERENV_OPAL_PREFIX=$mpi # the host's Open MPI finds its own plugins
VARIO="apptainer exec $image vario"

# PMIx's sockets and the shared memory of a node must be seen inside: /tmp and /dev/shm are by
# default, other directories (SlurmdSpoolDir, TmpFS of your site) are added to APPTAINER_BIND.
