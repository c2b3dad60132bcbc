#!/usr/bin/env bash
# Train the small Mandarin Paraformer of the quick start from scratch: bash egs/tiny_zh/run.sh --corpus AISHELL_SAMPLE
# An hour on two CPU cores. What it uses, why, and what it gives: README.md, RESULTS.md next to this file.
# shellcheck disable=SC2154  # options are set by declare_option
set -euo pipefail
recipe_dir=$(readlink -f -- "${BASH_SOURCE[0]}")
recipe_dir=${recipe_dir%/*} root=${recipe_dir%/egs/*}
[ -f "$root/utils/train_recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy elsewhere
[ -f "$root/utils/train_recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/train_recipe.sh
source "$root/utils/train_recipe.sh"
declare_option corpus "" "real speech: a folder with train/, validation/ and test/, each with wav.scp and text"
declare_option real_copies 4 "how often each real recording occurs in an epoch (each time at a different speed)" integer
declare_option aligner "$recipe_root/egs/quickstart/model" "model that finds where characters end, for splicing"
declare_option spliced 1500 "number of utterances joined from pieces of the real ones" integer
declare_option voice_dir "" "folder of recorded syllables; empty: gcin-voice from the Debian archive"
declare_option joined 835 "number of sentences joined from those syllables" integer
declare_option synthetic 600 "number of sentences spoken by Kokoro-82M (needs pip and npm)" integer
declare_option more_data "" "additional data directories, separated by spaces"
declare_option words "" "word list with frequencies; empty: jieba's"
declare_option open_gram "" "folder of open-gram's word n-grams (lm_sc.t3g, pydict_sc.bin); empty: sunpinyin-data from the Debian archive"
declare_option characters 2700 "number of most frequent characters of the word list to put in the token list" integer
data_dir=$recipe_dir/data exp_dir=$recipe_dir/exp test_sets="validation test"
kokoro_dir() { printf '%s/kokoro' "$data_dir"; }

# append DATA_DIR PREFIX: its lists, with absolute paths and prefixed ids, to the training set
append() {
  awk -v folder="$(cd "$1" && pwd)/" -v prefix="$2" \
    '{ key = $1; sub(/^[^ \t]+[ \t]+/, ""); if ($0 !~ /^\//) $0 = folder $0; print prefix key, $0 }' "$1/wav.scp" >> "$data_dir/train/wav.scp"
  sed "s/^/$2/" "$1/text" >> "$data_dir/train/text"
}

find_words() {
  if [ -n "$words" ]; then return; fi
  bash "$recipe_dir/local/get_kokoro.sh" "$(kokoro_dir)"
  words=$("$(kokoro_dir)/venv/bin/python" -c 'import os, jieba; print(os.path.join(os.path.dirname(jieba.__file__), "dict.txt"))')
}

prepare_data() {
  [ -n "$corpus" ] || die "--corpus is missing"
  local copy folder gcin=$recipe_root/egs/gcin_zh/local
  mkdir -p "$data_dir/train" "$data_dir/lists"
  : > "$data_dir/train/wav.scp"
  : > "$data_dir/train/text"
  for copy in $(seq "$real_copies"); do append "$corpus/train" "copy${copy}_"; done
  if [ "$spliced" -gt 0 ]; then
    rm -rf "$data_dir/spliced"
    funrecipe splice --model "$aligner" --data_dir "$corpus/train" --out "$data_dir/spliced" --count "$spliced"
    append "$data_dir/spliced" ""
  fi
  find_words
  if [ "$joined" -gt 0 ]; then
    if [ -z "$voice_dir" ]; then
      debian_package gcin-voice "$data_dir/gcin-voice"
      voice_dir=$data_dir/gcin-voice/usr/share/gcin-voice/ogg
    fi
    "$PYTHON" "$recipe_dir/local/random_sentences.py" "$words" "$aligner/tokens.txt" --count "$joined" > "$data_dir/lists/joined"
    "$PYTHON" "$gcin/join_syllables.py" "$voice_dir" "$data_dir/lists/joined" "$data_dir/joined" --use all
    append "$data_dir/joined" ""
  fi
  if [ "$synthetic" -gt 0 ]; then
    bash "$recipe_dir/local/get_kokoro.sh" "$(kokoro_dir)"
    "$(kokoro_dir)/venv/bin/python" "$recipe_dir/local/synthesize.py" "$(kokoro_dir)" "$corpus/train/text" \
      "$data_dir/synthetic" --count "$synthetic"
    append "$data_dir/synthetic" ""
  fi
  for folder in $more_data; do append "$folder" ""; done
  for folder in validation test; do ln -sfn "$(cd "$corpus/$folder" && pwd)" "$data_dir/$folder"; done
}

# choose_characters: those that the search may output although they do not occur in the training data
choose_characters() {
  find_words
  further_characters=$("$PYTHON" "$recipe_dir/local/frequent_characters.py" "$words" --count "$characters")
}

prepare_ngram() {
  [ -n "$corpus" ] || die "--corpus is missing"
  find_words
  if [ -z "$open_gram" ]; then
    debian_package sunpinyin-data "$data_dir/sunpinyin-data"
    open_gram=$(dirname "$data_dir"/sunpinyin-data/usr/lib/*/sunpinyin/data/lm_sc.t3g)
  fi
  "$PYTHON" "$recipe_dir/local/char_ngram.py" --tokens "$lang/tokens.txt" --open_gram "$open_gram" --words "$words" \
    --text "$corpus/train/text" --output "$1"
}

train_recipe "$@"
