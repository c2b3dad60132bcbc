#!/usr/bin/env bash
# data.sh CORPUS DATA_DIR: DATA_DIR/{train,validation,test}/{wav.scp,text} of AISHELL-1.
# CORPUS is data_aishell as it unpacks (audio of every speaker unpacked too), or has train/, validation/ and test/
# with wav.scp and text already, as the public sample does.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: data.sh CORPUS DATA_DIR" >&2; exit 2; }
[ -d "$1" ] || { echo "data.sh: no folder '$1'; give --corpus" >&2; exit 3; }
corpus=$(cd "$1" && pwd) data_dir=$2

from_lists() {
  local part
  for part in train validation test; do
    mkdir -p "$data_dir/$part"
    awk -v folder="$corpus/$part/" '{ key = $1; sub(/^[^ \t]+[ \t]+/, ""); if ($0 !~ /^\//) $0 = folder $0; print key, $0 }' \
      "$corpus/$part/wav.scp" > "$data_dir/$part/wav.scp"
    cp "$corpus/$part/text" "$data_dir/$part/text"
  done
}

# Ids that the transcript lacks are left out, and counted.
from_corpus() {
  local transcript=$corpus/transcript/aishell_transcript_v0.8.txt part target
  [ -f "$transcript" ] || { echo "data.sh: no $transcript" >&2; exit 3; }
  for part in train dev test; do
    target=$data_dir/${part/dev/validation}
    mkdir -p "$target"
    find "$corpus/wav/$part" -name '*.wav' | awk -F/ '{ id = $NF; sub(/\.wav$/, "", id); print id, $0 }' | LC_ALL=C sort > "$target/all"
    awk 'NR == FNR { key = $1; sub(/^[^ \t]+[ \t]+/, ""); text[key] = $0; next }
         $1 in text { print $1, text[$1] }' "$transcript" "$target/all" > "$target/text"
    awk 'NR == FNR { known[$1]; next } $1 in known' "$target/text" "$target/all" > "$target/wav.scp"
    echo "$target: $(wc -l < "$target/wav.scp") of $(wc -l < "$target/all") recordings have a transcript"
    rm "$target/all"
  done
}

if [ -f "$corpus/train/wav.scp" ]; then from_lists; else from_corpus; fi
