#!/usr/bin/env bash
# AISHELL-1 from a local copy: bash egs/aishell/run.sh --corpus /path/to/data_aishell
# or from data directories that are ready: bash egs/aishell/run.sh --data_dir DIR --stage 1
# shellcheck disable=SC2154  # options are set by declare_option
# shellcheck source=utils/train_recipe.sh
recipe_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe_dir/../../utils/train_recipe.sh"
declare_option corpus "" "data_aishell: wav/{train,dev,test}/SPEAKER/ID.wav and transcript/; empty: data_dir is ready"
declare_option archive "" "data_aishell.tgz as published (OpenSLR 33), which stage -1 unpacks to --corpus"

# Values of this recipe.
set_default train_config "$recipe_root/egs/asr/conf/paraformer_conformer.yaml"
set_default nbest 10
set_default criterion valid,acc,max
set_default test_sets "validation test"

# get_corpus: the archive holds an archive of each speaker.
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
