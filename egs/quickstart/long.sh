#!/usr/bin/env bash
# Long recordings: join utterances of the embedded sample with silence, find the speech, decode, write subtitles.
# bash egs/quickstart/long.sh [options of egs/asr/infer.sh]
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
root=$here/../..
for argument in "$@"; do # the options are those of infer.sh: nothing is joined to show them
  case $argument in --help | -h) exec bash "$root/egs/asr/infer.sh" --help ;; esac
done
[ -n "${PYTHON:-}" ] || bash "$root/tools/setup.sh"
python=${PYTHON:-$root/.venv/bin/python}
output_dir=$here/results_long
arguments=("$@")
for ((i = 0; i < $#; i++)); do
  case ${arguments[i]} in
    --output_dir=* | --output-dir=*) output_dir=${arguments[i]#*=} ;;
    --output_dir | --output-dir) output_dir=${arguments[i + 1]:-$output_dir} ;;
  esac
done
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} "$python" "$here/local/join_utterances.py" "$here/data" "$output_dir/recordings"
bash "$root/egs/asr/infer.sh" --model "$here/model" --vad_model "$here/vad" --data_dir "$output_dir/recordings" \
  --output_dir "$output_dir" --timestamp true --formats txt,srt,json --njob 2 "$@"
echo "Subtitles: $output_dir/transcripts/*.srt"
