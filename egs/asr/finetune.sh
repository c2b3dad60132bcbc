#!/usr/bin/env bash
# Fine-tune a model and test whether it helped: bash egs/asr/finetune.sh --model M --data_dir D --output_dir O
# Stages: 0 pre-flight of the data, 1 base model, 2 train, 3 average, 4 decode with base and tuned weights, 5 compare.
# D has train/ and validation/ (or dev/), and test/ if there is one. Guide: docs/finetune.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"
# shellcheck source=utils/train_processes.sh
source "$recipe_root/utils/train_processes.sh"

declare_option stage 0 "first stage to run" "0|1|2|3|4|5"
declare_option stop_stage 5 "last stage to run" integer
declare_option model damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch "model folder or id to start from"
declare_option target_config "" "with a pre-trained encoder (data2vec) as --model: config.yaml of the recognizer to build on it"
declare_option token_list "" "with --target_config: tokens.txt, one token per line (made by funrecipe tokens)"
declare_option data_dir ./data "folder with train/ and validation/ (or dev/), each with wav.scp and text, and perhaps test/"
declare_option output_dir ./checkpoint "folder for checkpoints, logs, averages and results"
declare_option eval_dir "" "data directory decoded in stages 4 and 5; default DATA_DIR/test, else the validation set"
declare_option guard_dir "" "data directories of general speech, or one per language, separated by commas: stages 4 and 5 also show how much accuracy was lost there"
declare_option spliced 0 "number of extra training utterances, spliced from segments of the training set (little data)" count
declare_option checkpoint_name "" "weights to decode with in stage 4; default: the average of the first best_model_criterion"
declare_option njob 2 "number of decoding jobs in stage 4" positive
declare_option gpu_inference auto "decode on GPUs in stage 4" "auto|true|false"
# shellcheck source=utils/train_settings.sh
source "$recipe_root/utils/train_settings.sh" # declares the settings of training; "settings" holds their names
parse_options "$@"
check_processes 2

infer=$recipe_root/egs/asr/infer.sh
spliced_dir=$output_dir/spliced
given "${settings[@]}"
start=(--model="$model")
if [ -n "$target_config" ]; then
  start=(--pretrained="$model" --config="$target_config" ${token_list:+--token_list="$token_list"})
  [ "$spliced" -eq 0 ] || die "--spliced needs a base model that recognizes speech: leave it out" 2
elif [ -n "$token_list" ]; then
  die "--token_list has no effect without --target_config" 2
fi
train_flags=("${start[@]}" --data_dir="$data_dir" "${flags[@]}")
given "${back_end[@]}"
back_end_flags=("${flags[@]}")
take_over 2 "$output_dir"
if [ -n "$config_file" ]; then train_flags+=(--from_file="$config_file:$config_names"); fi # for the log
if [ "$spliced" -gt 0 ]; then
  [ -z "$more_train_dirs" ] || die "--spliced creates the additional training set: leave out --more_train_dirs" 2
  [ "$dataset_type" != large ] || die "--spliced works with --dataset_type small only" 2
  if stage 2 && [ -f "$spliced_dir/text" ]; then
    there=$(wc -l < "$spliced_dir/text")
    [ "$there" -eq "$spliced" ] || die "$spliced_dir has $there utterances of an earlier run: remove it, or pass --spliced $there" 2
  fi
fi
if [ -z "$eval_dir" ]; then
  for part in test validation dev valid; do
    if [ -z "$eval_dir" ] && [ -d "$data_dir/$part" ]; then eval_dir=$data_dir/$part; fi
  done
fi
[ "$stop_stage" -lt 4 ] || [ -n "$eval_dir" ] || die "no test and no validation folder in $data_dir: give --eval_dir" 3

sets=("$eval_dir") names=(eval)
IFS=, read -ra guards <<< "$guard_dir"
for guard in "${guards[@]}"; do
  [ -n "$guard" ] || die "--guard_dir '$guard_dir' has an empty name: separate folders by single commas"
  sets+=("$guard")
  if [ "${#guards[@]}" -eq 1 ]; then name=guard; else name=guard.$(basename -- "$guard"); fi
  for other in "${names[@]}"; do
    [ "$name" != "$other" ] || die "--guard_dir: two folders are named '${name#*.}', and so would be their results"
  done
  names+=("$name")
done

# decode MODEL DATA_DIR NAME [infer.sh options]: results in OUTPUT_DIR/results/NAME
decode() {
  local folder=$1 directory=$2 name=$3
  shift 3
  bash "$infer" --model "$folder" --data_dir "$directory" --output_dir "$output_dir/results/$name" --njob "$njob" \
    --gpu_inference "$gpu_inference" "${back_end_flags[@]}" "$@"
}

if first_machine && stage 0; then
  log "Stage 0: Checking the data ..."
  for directory in "${sets[@]}"; do # what stage 5 compares on, looked at before hours of training
    if [ "$stop_stage" -ge 4 ] && [ -n "$directory" ]; then
      [ -f "$directory/text" ] || die "no text in $directory: stages 4 and 5 need one" 3
      funrecipe validate --data_dir="$directory"
    fi
  done
  funrecipe train "${train_flags[@]}" --output_dir="$output_dir" --num_gpus "$num_gpus" --check data
fi

if first_machine && stage 1; then
  log "Stage 1: Checking the base model ..."
  funrecipe train "${train_flags[@]}" --output_dir="$output_dir" --num_gpus "$num_gpus" --check model
fi

if stage 2; then
  log "Stage 2: Training ..."
  if [ "$spliced" -gt 0 ]; then
    if first_machine && [ ! -d "$spliced_dir" ]; then
      funrecipe splice --model "$model" --data_dir "$data_dir/train" --out "$spliced_dir" --count "$spliced"
    fi
    train_flags+=(--more_train_dirs="$spliced_dir")
  fi
  train_in_processes "$output_dir" "${train_flags[@]}"
fi
first_machine || exit 0

criterion=$("$PYTHON" -m funrecipe average --output_dir "$output_dir" --print_criterion)
if stage 3; then
  log "Stage 3: Averaging ..."
  funrecipe average --output_dir "$output_dir" --criterion "$criterion" ${keep_nbest_models:+--nbest "$keep_nbest_models"}
fi

if [ -z "$checkpoint_name" ]; then
  IFS=, read -r phase value _ <<< "$criterion"
  checkpoint_name=$phase.$value.ave.pb
fi
# decode_all [infer.sh options]: all sets with both models
decode_all() {
  # With a longer vocabulary the base folder's token list is too short; the output directory is a model folder too.
  local tuned=$model
  case ${extend_vocab,,}${target_config:+on} in true | yes | on*) tuned=$output_dir ;; esac
  for i in "${!sets[@]}"; do
    name=${names[i]}
    [ -n "$target_config" ] || decode "$model" "${sets[i]}" "$name.base" "$@"
    decode "$tuned" "${sets[i]}" "$name.tuned" --checkpoint_dir "$output_dir" --checkpoint_name "$checkpoint_name" "$@"
  done
}

if [ "$stop_stage" -ge 4 ]; then rm -f -- "$output_dir"/results/*.compare.json; fi # of an earlier run, should this one fail

if stage 4; then
  log "Stage 4: Decoding with base and tuned weights ..."
  decode_all
fi

if stage 5 && [ -n "$target_config" ]; then
  log "Stage 5: a pre-trained encoder does not recognize speech, so there is nothing to compare with"
elif stage 5; then
  log "Stage 5: Comparing ..."
  if [ "$stage" -eq 5 ]; then decode_all --stage 2; fi # refuses what an earlier run left, with other weights or texts
  for i in "${!sets[@]}"; do
    name=${names[i]}
    log "${sets[i]}: A is the base model, B the tuned one ($checkpoint_name)"
    funrecipe compare "$output_dir/results/$name.base" "$output_dir/results/$name.tuned" --tokens char \
      --out "$output_dir/results/$name.compare.json"
  done
fi
