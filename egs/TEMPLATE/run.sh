#!/usr/bin/env bash
# Train a recognizer from scratch. Copy this folder to egs/CORPUS, write local/data.sh, set the values below.
# All options: bash egs/CORPUS/run.sh --help. Stages and files: README.md
# shellcheck disable=SC2154  # options are set by declare_option
set -euo pipefail
recipe_dir=$(readlink -f -- "${BASH_SOURCE[0]}")
recipe_dir=${recipe_dir%/*} root=${recipe_dir%/egs/*}
[ -f "$root/utils/train_recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy elsewhere
[ -f "$root/utils/train_recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/train_recipe.sh
source "$root/utils/train_recipe.sh"
declare_option corpus "" "folder of the corpus, passed to local/data.sh"

# Values of this recipe; each can be given as an option too.
set_default train_config "$recipe_root/egs/asr/conf/paraformer_base.yaml"
set_default nbest 10
set_default criterion valid,cer_decode,min
set_default test_sets test

prepare_data() { bash "$recipe_dir/local/data.sh" "$corpus" "$data_dir"; }

train_recipe "$@"
