#!/usr/bin/env bash
# data.sh CORPUS DATA_DIR: write DATA_DIR/{train,validation,test}/{wav.scp,text} for a copy of the corpus.
#   wav.scp   ID PATH        (path absolute, or relative to the folder of wav.scp)
#   text      ID TRANSCRIPT  (spaces between characters do not matter)
# Replace the loop. As it is, it takes a corpus that has these folders and files already.
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
[ $# -eq 2 ] && [ -d "$1" ] || { echo "data.sh: no folder '${1:-}'; give --corpus FOLDER" >&2; exit 3; }
corpus=$(cd "$1" && pwd) data_dir=$2
for part in train validation test; do
  mkdir -p "$data_dir/$part"
  while read -r id path; do
    case $path in /*) ;; *) path=$corpus/$part/$path ;; esac
    printf '%s %s\n' "$id" "$path"
  done < "$corpus/$part/wav.scp" > "$data_dir/$part/wav.scp"
  cp "$corpus/$part/text" "$data_dir/$part/text"
done
