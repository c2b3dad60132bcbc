# shellcheck shell=bash
# Training from nothing: what egs/<corpus>/run.sh sources. The recipe defines prepare_data, which fills
# $data_dir/{train,validation,test} (and any $test_sets), and may set other defaults before it calls train_recipe "$@".
# Stages: 0 data, 1 token list and CMVN, 2 train, 3 average, 4 decode and score, 5 pack as a model folder.
# shellcheck disable=SC2154  # options are set by declare_option
# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

declare_option stage 0 "first stage to run" integer
declare_option stop_stage 5 "last stage to run" integer
declare_option data_dir ./data "data directories of the recipe"
declare_option exp_dir ./exp "training run, results, packed model"
declare_option train_config "" "architecture and training settings; default: conf/train.yaml of the recipe"
declare_option min_count 1 "characters that occur less often in the training text become <unk>" integer
declare_option max_epoch "" "number of epochs; empty: as train_config says" integer
declare_option num_gpus 0 "GPUs, one process each; 0: CPU" integer
declare_option num_processes 1 "processes on the CPU (with --num_gpus 0)" integer
declare_option test_sets test "folders of data_dir that are decoded, separated by blanks"
declare_option nbest 5 "epochs that are averaged" integer
declare_option criterion valid,cer_decode,min "what ranks epochs: phase,value,min|max"
declare_option njob 2 "decoding jobs" integer
declare_option half true "store the packed weights as float16"

train_recipe() {
  parse_options "$@"
  local run=$exp_dir/train phase value mode config=${train_config:-$recipe_dir/conf/train.yaml}
  IFS=, read -r phase value mode <<< "$criterion"
  mkdir -p "$data_dir" "$exp_dir"
  if stage 0; then
    log "Stage 0: Preparing the data ..."
    prepare_data
    for part in train validation $test_sets; do funrecipe validate --data_dir "$data_dir/$part"; done
  fi
  if stage 1; then
    log "Stage 1: Token list and feature statistics ..."
    funrecipe prepare --data_dir "$data_dir/train" --config "$config" --output_dir "$exp_dir/lang" --min_count "$min_count"
  fi
  if stage 2; then
    log "Stage 2: Training ..."
    given max_epoch
    local launcher=(funrecipe train) processes=$num_processes
    if [ "$num_gpus" -gt 0 ]; then processes=$num_gpus; fi
    if [ "$processes" -gt 1 ]; then
      export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
      launcher=("$PYTHON" -m torch.distributed.run --standalone --nproc-per-node "$processes" -m funrecipe train)
    fi
    "${launcher[@]}" --config "$config" --token_list "$exp_dir/lang/tokens.txt" --cmvn_file "$exp_dir/lang/am.mvn" \
      --data_dir "$data_dir" --output_dir "$run" --num_gpus "$num_gpus" "${flags[@]}" \
      --best_model_criterion "[[$phase, $value, $mode]]" --keep_nbest_models "$nbest"
  fi
  if stage 3; then
    log "Stage 3: Averaging ..."
    funrecipe average --output_dir "$run" --criterion "$criterion" --nbest "$nbest"
  fi
  if stage 4; then
    log "Stage 4: Decoding and scoring ..."
    for part in $test_sets; do
      bash "$recipe_root/egs/asr/infer.sh" --model "$run" --checkpoint_dir "$run" --checkpoint_name "$phase.$value.ave.pb" \
        --data_dir "$data_dir/$part" --output_dir "$exp_dir/results/$part" --njob "$njob"
    done
    for part in $test_sets; do
      log "$part: $(grep '^%WER' "$exp_dir/results/$part/1best_recog/text.cer" || echo 'no result')"
    done
  fi
  if stage 5; then
    log "Stage 5: Packing ..."
    rm -rf "$exp_dir/model"
    local half_flag=()
    if [ "$half" = true ]; then half_flag=(--half); fi
    funrecipe pack --run_dir "$run" --checkpoint_name "$phase.$value.ave.pb" --target "$exp_dir/model" "${half_flag[@]}"
  fi
}
