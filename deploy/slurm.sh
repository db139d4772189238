#!/bin/sh
# A sweep as a Slurm job array: sbatch slurm.sh [GRID [FOLDER]], from this folder. Each task measures a part. The first submission also queues the
# job that merges when all tasks have ended well.
#SBATCH --job-name=tcplab-sweep
#SBATCH --array=1-4
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=04:00:00
set -eu
# Slurm copies the script elsewhere: what it needs is where it was submitted.
cd "${SLURM_SUBMIT_DIR:-.}"
grid=${1:-sweep.yaml} folder=${2:-parts}
if [ "$SLURM_ARRAY_TASK_ID" = "$SLURM_ARRAY_TASK_MIN" ]; then
	sbatch --job-name=tcplab-merge --dependency="afterok:$SLURM_ARRAY_JOB_ID" --wrap="tcplab merge $folder/*.json --json > $folder.json"
fi
exec ./shard.sh "$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))" "$SLURM_ARRAY_TASK_COUNT" "$grid" "$folder" --jobs "${SLURM_CPUS_PER_TASK:-1}"
