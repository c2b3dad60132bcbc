#!/usr/bin/env bash
# AISHELL-1 from a local copy: bash egs/aishell/run.sh --corpus /path/to/data_aishell
# shellcheck disable=SC2154  # options are set by declare_option
# shellcheck source=utils/train_recipe.sh
recipe_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe_dir/../../utils/train_recipe.sh"
declare_option corpus "" "data_aishell (wav/{train,dev,test}/SPEAKER/*.wav and transcript/), or folders with wav.scp and text"
data_dir=$recipe_dir/data exp_dir=$recipe_dir/exp nbest=10

prepare_data() { bash "$recipe_dir/local/data.sh" "$corpus" "$data_dir"; }

train_recipe "$@"
