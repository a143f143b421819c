# shellcheck shell=bash disable=SC2034
# A site with modules: copy this file to env.sh beside the batch scripts and put your own names in.
# What sbatch should always get (account, partition) can be set in SBATCH_ACCOUNT, SBATCH_PARTITION
# of your shell.
module purge
module load gcc/13 openmpi/4.1 onednn/3.4 openblas
VARIO=$HOME/vario/build/release/vario

# Where `srun --mpi=list` names no PMIx that the module's Open MPI was built with, mpirun starts the
# ranks; PE is the threads of a rank. Left alone, srun with PMIx is taken, or mpirun without binding.
#VARIO_LAUNCH="mpirun --map-by slot:PE=${SLURM_CPUS_PER_TASK:-1}"
