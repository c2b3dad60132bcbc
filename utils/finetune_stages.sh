# shellcheck shell=bash
# Fine-tuning of models that do not recognize speech: options, and stages 0 to 3, which are those of egs/asr/finetune.sh.
# Sourced by their finetune.sh, after utils/recipe.sh and its declare_option model.
# shellcheck disable=SC2154  # options are set by declare_option

# shellcheck source=utils/train_processes.sh
source "$recipe_root/utils/train_processes.sh"
declare_option stage 0 "first stage to run" "0|1|2|3|4|5"
declare_option stop_stage 5 "last stage to run" count
declare_option output_dir ./checkpoint "folder for checkpoints, logs, averages and results"
declare_option eval_dir "" "data directory of stages 4 and 5; default DATA_DIR/test, else the validation set"
declare_option checkpoint_name "" "weights to use in stage 4; default: the average of the first best_model_criterion"
declare_option njob 2 "number of processes in stage 4" positive
declare_option gpu_inference auto "compute on GPUs in stage 4" "auto|true|false"
# shellcheck source=utils/train_settings.sh
source "$recipe_root/utils/train_settings.sh"

# train_stages "$@" ...: stages 0 to 3 with the options of the recipe; then sets eval_dir, if it is empty.
train_stages() {
  if [ "$stage" -le 3 ]; then
    bash "$recipe_root/egs/asr/finetune.sh" "$@" --model="$model" --data_dir="$data_dir" --output_dir="$output_dir" \
      --stage="$stage" --stop_stage="$((stop_stage < 3 ? stop_stage : 3))"
  fi
  first_machine || exit 0
  for part in test validation dev valid; do
    if [ -z "$eval_dir" ] && [ -d "$data_dir/$part" ]; then eval_dir=$data_dir/$part; fi
  done
  [ "$stop_stage" -lt 4 ] || [ -n "$eval_dir" ] || die "no test and no validation folder in $data_dir: give --eval_dir" 3
}
