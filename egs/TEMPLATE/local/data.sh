#!/usr/bin/env bash
# data.sh CORPUS DATA_DIR: write DATA_DIR/{train,validation,test}/{wav.scp,text} for a copy of the corpus.
#   wav.scp   ID PATH        (absolute path, or relative to the folder of wav.scp)
#   text      ID TRANSCRIPT  (with or without blanks between characters)
set -euo pipefail
corpus=$1 data_dir=$2
[ -d "$corpus" ] || { echo "data.sh: no folder '$corpus'; give --corpus" >&2; exit 3; }
for part in train validation test; do
  mkdir -p "$data_dir/$part"
  # Here: a corpus that has these folders already, each with wav.scp and text.
  sed "s| wav/| $(cd "$corpus" && pwd)/$part/wav/|" "$corpus/$part/wav.scp" > "$data_dir/$part/wav.scp"
  cp "$corpus/$part/text" "$data_dir/$part/text"
done
