#!/usr/bin/env bash
# Train a recognizer from nothing. Copy this folder to egs/<corpus>, write local/data.sh, set the values below.
# bash egs/<corpus>/run.sh --help shows all options.
# shellcheck disable=SC2154  # options are set by declare_option
# shellcheck source=utils/train_recipe.sh
recipe_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe_dir/../../utils/train_recipe.sh"
declare_option corpus "" "folder of the corpus, given to local/data.sh"

# Values of this recipe; each can be given as an option too.
data_dir=$recipe_dir/data
exp_dir=$recipe_dir/exp
test_sets="test"
nbest=10

# local/data.sh CORPUS DATA_DIR writes DATA_DIR/{train,validation,test}/{wav.scp,text}
prepare_data() { bash "$recipe_dir/local/data.sh" "$corpus" "$data_dir"; }

train_recipe "$@"
