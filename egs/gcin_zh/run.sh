#!/usr/bin/env bash
# Train a Mandarin recognizer of a small domain from scratch, in minutes, on a CPU: bash egs/gcin_zh/run.sh
# Data: Debian's package gcin-voice, 2,358 syllables spoken by two people, joined into sentences. See README.md.
# shellcheck disable=SC2154  # options are set by declare_option
set -euo pipefail
recipe_dir=$(readlink -f -- "${BASH_SOURCE[0]}")
recipe_dir=${recipe_dir%/*} root=${recipe_dir%/egs/*}
[ -f "$root/utils/train_recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy elsewhere
[ -f "$root/utils/train_recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/train_recipe.sh
source "$root/utils/train_recipe.sh"
declare_option voice_dir "" "folder of recorded syllables; empty: gcin-voice from the Debian archive"
declare_option sentences 1500 "training sentences" integer
declare_option seed 1 "random seed of sentences and joins" integer
data_dir=$recipe_dir/data exp_dir=$recipe_dir/exp test_sets="test unseen"

# prepare_data: train and validation use 85 % of the recordings; test has new sentences from these, unseen from the others.
prepare_data() {
  if [ -z "$voice_dir" ]; then
    debian_package gcin-voice "$data_dir/gcin-voice"
    voice_dir=$data_dir/gcin-voice/usr/share/gcin-voice/ogg
  fi
  local lists=$data_dir/sentences
  mkdir -p "$lists"
  "$PYTHON" "$recipe_dir/local/sentences.py" --count 100 --seed $((seed + 1)) --prefix T > "$lists/test"
  "$PYTHON" "$recipe_dir/local/sentences.py" --count 60 --seed $((seed + 2)) --prefix V --exclude "$lists/test" > "$lists/validation"
  "$PYTHON" "$recipe_dir/local/sentences.py" --count "$sentences" --seed "$seed" --prefix S \
    --exclude "$lists/test" "$lists/validation" > "$lists/train"
  sed 's/^T/U/' "$lists/test" > "$lists/unseen"
  for part in train validation test; do
    "$PYTHON" "$recipe_dir/local/join_syllables.py" "$voice_dir" "$lists/$part" "$data_dir/$part" --seed "$seed"
  done
  "$PYTHON" "$recipe_dir/local/join_syllables.py" "$voice_dir" "$lists/unseen" "$data_dir/unseen" --seed "$seed" --use held_out
}

train_recipe "$@"
