#!/usr/bin/env bash
# Train a recognizer from nothing. Copy this folder to egs/CORPUS, write local/data.sh, set the values below.
# All options: bash egs/CORPUS/run.sh --help. Stages and files: README.md
# shellcheck disable=SC2154  # options are set by declare_option
# shellcheck source=utils/train_recipe.sh
recipe_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe_dir/../../utils/train_recipe.sh"
declare_option corpus "" "folder of the corpus, given to local/data.sh"

# Values of this recipe; each can be given as an option too.
set_default train_config "$recipe_root/egs/asr/conf/paraformer_base.yaml"
set_default nbest 10
set_default criterion valid,cer_decode,min
set_default test_sets test

prepare_data() { bash "$recipe_dir/local/data.sh" "$corpus" "$data_dir"; }

train_recipe "$@"
