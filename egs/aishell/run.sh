#!/usr/bin/env bash
# AISHELL-1 from a local copy: bash egs/aishell/run.sh --corpus /path/to/data_aishell
# or from existing data directories: bash egs/aishell/run.sh --data_dir DIR --stage 1
# shellcheck disable=SC2154  # options are set by declare_option
set -euo pipefail
recipe_dir=$(readlink -f -- "${BASH_SOURCE[0]}")
recipe_dir=${recipe_dir%/*} root=${recipe_dir%/egs/*}
[ -f "$root/utils/train_recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy elsewhere
[ -f "$root/utils/train_recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/train_recipe.sh
source "$root/utils/train_recipe.sh"
declare_option corpus "" "data_aishell: wav/{train,dev,test}/SPEAKER/ID.wav and transcript/; empty: data_dir already exists"
declare_option archive "" "data_aishell.tgz as published (OpenSLR 33), which stage -1 unpacks to --corpus"

# Values of this recipe.
set_default train_config "$recipe_root/egs/asr/conf/paraformer_conformer.yaml"
set_default nbest 10
set_default criterion valid,acc,max
set_default test_sets "validation test"

# get_corpus: the archive contains an archive of each speaker.
get_corpus() {
  [ -n "$archive" ] && [ -n "$corpus" ] || die "stage -1 unpacks --archive data_aishell.tgz to --corpus FOLDER"
  mkdir -p "$corpus"
  tar -xzf "$archive" -C "$corpus" --strip-components=1
  for speaker in "$corpus"/wav/*.tar.gz; do
    tar -xzf "$speaker" -C "$corpus/wav"
    rm "$speaker"
  done
}

prepare_data() {
  if [ -n "$corpus" ]; then "$PYTHON" "$recipe_dir/local/data.py" "$corpus" "$data_dir"; fi
}

train_recipe "$@"
