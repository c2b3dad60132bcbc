#!/usr/bin/env bash
# Decode and score SpeechIO test sets, one table at the end:
#   bash egs/speechio/run.sh --model M --output_dir results/speechio datasets/SPEECHIO_ASR_ZH000*
# A set is a folder with wav.scp and trans.txt, or with metadata.tsv (ID AUDIO DURATION TEXT). Every option that is not
# listed here is passed to egs/asr/infer.sh.
# shellcheck disable=SC2154  # options are set by declare_option
set -euo pipefail
recipe_dir=$(readlink -f -- "${BASH_SOURCE[0]}")
recipe_dir=${recipe_dir%/*} root=${recipe_dir%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy elsewhere
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option output_dir ./results/speechio "one folder per set, RESULTS.md and results.json"
declare_option max_duration "" "leave out longer utterances, in seconds; the leaderboard's rule is 59.9"
declare_option max_num_utts "" "use only the first N utterances of each set" count
declare_option textnorm_profile speechio "normalization: speechio, funasr2023, strict or itn"

# shellcheck disable=SC2034  # read by the help
option_operands="SET_FOLDER ... (and any option of egs/asr/infer.sh, such as --model)"
sets=() infer_options=() own_options=()
while [ $# -gt 0 ]; do
  case $1 in
    --output[_-]dir | --max[_-]duration | --max[_-]num[_-]utts | --textnorm[_-]profile | --config) own_options+=("$1" "${@:2:1}"); shift ;;
    --help | -h | --output[_-]dir=* | --max[_-]duration=* | --max[_-]num[_-]utts=* | --textnorm[_-]profile=*) own_options+=("$1") ;;
    --*=*) infer_options+=("$1") ;;
    --*) infer_options+=("$1" "${@:2:1}"); shift ;;
    *) sets+=("${1%/}") ;;
  esac
  if [ $# -gt 0 ]; then shift; fi
done
parse_options "${own_options[@]}"
[ ${#sets[@]} -gt 0 ] || die "no test set: give one or more SPEECHIO_ASR_ZH000NN folders"
twice=$(printf '%s\n' "${sets[@]##*/}" | sort | uniq -d)
[ -z "$twice" ] || die "more than one test set is named $twice, and so would be its results: give each once, under its own name"

here=$recipe_root/egs/speechio
for set in "${sets[@]}"; do
  name=$(basename -- "$set")
  log "$name"
  given max_duration max_num_utts
  "$PYTHON" "$here/local/prepare_set.py" "${flags[@]}" -- "$set" "$output_dir/$name/data"
  bash "$recipe_root/egs/asr/infer.sh" --data_dir="$output_dir/$name/data" --output_dir="$output_dir/$name" \
    --textnorm_profile "$textnorm_profile" --stop_stage 3 "${infer_options[@]}"
done
"$PYTHON" "$here/local/table.py" -- "$output_dir" "${sets[@]##*/}"
