# shellcheck shell=bash
# Training from scratch: the stages of every egs/<corpus>/run.sh. A recipe sets recipe_dir, sources this file, defines
# prepare_data, which fills $data_dir/{train,validation,test} (and any $test_sets), may change defaults with
# set_default, and calls train_recipe "$@". It may also define choose_characters, which sets further_characters, and
# prepare_ngram FILE, which writes an ARPA file over the token list; that and conf/decoding.yaml become part of the model.
# Guide: egs/TEMPLATE/README.md
# Stages: -1 get the corpus, 0 data, 1 CMVN, 2 token list, 3 language models (n-grams; a network with --lm_config),
# 4 train and average, 5 decode and score, 6 pack as a ModelScope folder.
# shellcheck disable=SC2154  # options are set by declare_option, recipe_dir by the recipe
# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
# shellcheck source=utils/train_processes.sh
source "$recipe_root/utils/train_processes.sh"

declare_option stage 0 "first stage to run; -1: get the corpus" "-1|0|1|2|3|4|5|6"
declare_option stop_stage 6 "last stage to run" integer
declare_option data_dir "$recipe_dir/data" "folder with the data directories: train, validation (or dev), and the test sets"
declare_option exp_dir "$recipe_dir/exp" "folder for token list, CMVN, training run, results and packed model"
declare_option train_config "" "architecture and training; default: conf/train.yaml of the recipe, else egs/asr/conf/paraformer_base.yaml"
declare_option min_count 1 "characters that occur less often in the training text become <unk>" integer
declare_option further_characters "" "characters to add to those of the training text"
declare_option cmvn_utterances 2000 "number of evenly spaced utterances for the feature statistics; 0: all" integer
declare_option lm_config "" "language model of stage 3, for example egs/asr/conf/transformer_lm.yaml; empty: none"
declare_option lm_data_dir "" "folder with train/text and validation/text for the language model; empty: data_dir"
declare_option max_epoch "" "number of epochs; empty: from train_config" integer
declare_option lm_max_epoch "" "number of epochs of the language model; empty: from lm_config" integer
declare_option nbest 5 "number of epochs to average" positive
declare_option criterion valid,cer_decode,min "what ranks epochs: phase,value,min|max"
declare_option test_sets test "folders of data_dir to decode, separated by spaces"
declare_option njob 2 "number of decoding jobs" positive
declare_option gpu_inference auto "decode on GPUs in stage 5" "auto|true|false"
declare_option beam_size "" "hypotheses kept in stage 5; empty: from the model's decoding.yaml" integer
declare_option lm_weight "" "weight of the language model in stage 5; needs --lm_config and a beam"
declare_option half true "store the packed weights as float16: half the size"

# set_default NAME VALUE: another default for a declared option.
set_default() {
  option_default[$1]=$2
  printf -v "$1" '%s' "$2"
}

# debian_package NAME FOLDER: its files below FOLDER, without installing it (no root needed)
debian_package() {
  if [ -d "$2" ]; then return; fi
  local packages=$2.package
  rm -rf "$packages" # of a run that was interrupted
  mkdir -p "$packages"
  (cd "$packages" && apt-get download "$1") || die "could not get the Debian package $1" 3
  dpkg-deb -x "$packages/$1"_*.deb "$packages/files" || die "could not unpack the Debian package $1" 3
  mv "$packages/files" "$2"
}

# train_from CONFIG DATA_DIR OUTPUT_DIR [option ...]: stage 3 or 4
train_from() {
  local config=$1 from=$2 to=$3
  shift 3
  train_in_processes "$to" --config "$config" --token_list "$lang/tokens.txt" --data_dir "$from" "$@"
}

train_language_model() {
  local epochs=()
  if [ -n "$lm_max_epoch" ]; then epochs=(--max_epoch "$lm_max_epoch"); fi
  train_from "$lm_config" "${lm_data_dir:-$data_dir}" "$exp_dir/lm" "${epochs[@]}"
}

train_model() {
  local phase value mode
  IFS=, read -r phase value mode <<< "$criterion"
  given max_epoch
  train_from "$config" "$data_dir" "$run" --cmvn_file "$lang/am.mvn" "${flags[@]}" \
    --best_model_criterion "[[$phase, $value, $mode]]" --keep_nbest_models "$nbest"
  if first_machine; then funrecipe average --output_dir "$run" --criterion "$criterion" --nbest "$nbest"; fi
}

decode_and_score() {
  local part
  if [ -n "$lm_config" ]; then
    [ -f "$exp_dir/lm/valid.loss.ave.pb" ] || die "no language model in $exp_dir/lm: run stage 3 first" 3
    cp "$exp_dir/lm/config.yaml" "$run/lm.yaml"
    cp "$exp_dir/lm/valid.loss.ave.pb" "$run/lm.pb"
  fi
  if [ -f "$lang/ngram.arpa.gz" ]; then cp "$lang/ngram.arpa.gz" "$run"; fi
  if [ -f "$recipe_dir/conf/decoding.yaml" ]; then cp "$recipe_dir/conf/decoding.yaml" "$run"; fi
  given beam_size lm_weight "${back_end[@]}"
  for part in $test_sets; do
    bash "$recipe_root/egs/asr/infer.sh" --model "$run" --checkpoint_dir "$run" --checkpoint_name "$checkpoint" \
      --data_dir "$data_dir/$part" --output_dir "$exp_dir/results/$part" --njob "$njob" --gpu_inference "$gpu_inference" \
      "${flags[@]}"
  done
  for part in $test_sets; do
    log "$part: $(grep '^%WER' "$exp_dir/results/$part/1best_recog/text.cer" || echo 'not scored: no text')"
  done
}

train_recipe() {
  parse_options "$@"
  check_processes 3 4
  local lang=$exp_dir/lang run=$exp_dir/train config=$train_config part phase value checkpoint half_flag=()
  if [ -z "$config" ]; then
    config=$recipe_dir/conf/train.yaml
    if [ ! -f "$config" ]; then config=$recipe_root/egs/asr/conf/paraformer_base.yaml; fi
  fi
  IFS=, read -r phase value _ <<< "$criterion"
  checkpoint=$phase.$value.ave.pb
  take_over 3 "$exp_dir/lm"
  take_over 4 "$run"

  if first_machine && stage -1; then
    log "Stage -1: Getting the corpus ..."
    declare -F get_corpus > /dev/null || die "this recipe has no stage -1: give it a copy of the corpus"
    get_corpus
  fi
  if first_machine && stage 0; then
    log "Stage 0: Preparing the data ..."
    mkdir -p -- "$data_dir" || die "cannot write in '$data_dir'" 5
    prepare_data
    for part in train validation dev $test_sets; do
      if [ -d "$data_dir/$part" ]; then funrecipe validate --data_dir "$data_dir/$part"; fi
    done
  fi
  if first_machine && stage 1; then
    log "Stage 1: Computing CMVN ..."
    funrecipe cmvn --data_dir "$data_dir/train" --config "$config" --out "$lang/am.mvn" --max_utterances "$cmvn_utterances"
  fi
  if first_machine && stage 2; then
    log "Stage 2: Making the token list ..."
    if declare -F choose_characters > /dev/null; then choose_characters; fi
    funrecipe tokens --data_dir "$data_dir/train" --out "$lang/tokens.txt" --min_count "$min_count" \
      --extra_characters "$further_characters"
  fi
  if first_machine && stage 3 && declare -F prepare_ngram > /dev/null; then
    log "Stage 3: Making the n-gram model ..."
    prepare_ngram "$lang/ngram.arpa.gz"
  fi
  if stage 3 && [ -n "$lm_config" ]; then
    log "Stage 3: Training the language model ..."
    train_language_model
  fi
  if stage 4; then
    log "Stage 4: Training ..."
    train_model
  fi
  if first_machine && stage 5; then
    log "Stage 5: Decoding and scoring ..."
    decode_and_score
  fi
  if first_machine && stage 6; then
    log "Stage 6: Packing ..."
    if [ "$half" = true ]; then half_flag=(--half); fi
    funrecipe pack --run_dir "$run" --checkpoint_name "$checkpoint" --target "$exp_dir/model" --overwrite "${half_flag[@]}"
  fi
}
