#!/usr/bin/env bash
# Decode a Kaldi data directory in parallel and score it: bash egs/asr/infer.sh --model M --data_dir D --output_dir O
# Stages: 0 validate, 1 decode, 2 score (text.cer), 3 SpeechIO scoring, 4 report. Layout: docs/results_layout.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option stage 0 "first stage to run" "0|1|2|3|4"
declare_option stop_stage 2 "last stage to run" count
declare_option model damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch "model folder or id"
declare_option data_dir ./data/test "folder with wav.scp and, if it is to be scored, text"
declare_option output_dir ./results "folder of the results"
declare_option batch_size 64 "maximum number of utterances decoded at once by each job on the CPU" positive
declare_option gpu_inference auto "auto: available GPUs of gpuid_list, otherwise CPU; true: require them; false: CPU" "auto|true|false"
declare_option gpuid_list 0,1 "GPUs, one job each; a GPU may be listed twice"
declare_option njob 64 "number of CPU jobs, at most one per utterance" positive
declare_option ncpu "" "threads of each job; empty: cores / jobs" positive
# shellcheck source=utils/back_ends.sh
source "$recipe_root/utils/back_ends.sh"
declare_option checkpoint_dir "" "folder of a fine-tuning run, whose weights replace the model's"
declare_option checkpoint_name valid.cer_ctc.ave.pb "weights in checkpoint_dir; if this default does not exist, the average chosen by the run"
declare_option resume true "keep the results of an interrupted run of the same plan"
declare_option max_failed 0 "publish results if at most N utterances fail (scored as deletions)" count
declare_option validate true "check lists, ids and texts first (stage 0)"
declare_option partial_text false "score even if text lacks utterances of wav.scp"
declare_option allow_pipes false "run the commands that wav.scp names"
declare_option allow_ffmpeg false "let an installed ffmpeg read m4a, aac, amr, wma, webm and other formats that libsndfile does not"
declare_option audio_fs "" "sampling rate of raw .pcm and .raw files, in Hz; empty: the model's" positive
declare_option channel "" "channel of the audio to decode, counted from 1, or mix: the mean of all; empty: 1"
# shellcheck source=utils/recordings.sh
source "$recipe_root/utils/recordings.sh"
declare_option textnorm_profile speechio "normalization of stage 3" "speechio|funasr2023|strict|itn"
# Decoding; empty: as the model's decoding.yaml says. Sets the array "decoding" to the names.
# shellcheck source=utils/decode_options.sh
source "$recipe_root/utils/decode_options.sh"
parse_options "$@"

results=$output_dir/1best_recog
choose_pieces # with --vad_model the pieces of recordings are decoded, as a run in $decoded
plan=$decoded/plan.json
digest=

[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir must name a folder"
if [ "$stop_stage" -ge 1 ]; then only_run_in "$output_dir"; fi

if stage 0 && [ "$validate" = true ]; then
  log "Stage 0: Validating ..."
  funrecipe validate --data_dir="$data_dir" --allow_pipes="$allow_pipes" --partial_text="$partial_text"
fi

if stage 1; then
  log "Stage 1: Decoding ..."
  cut_recordings
  if has_pieces; then
    given checkpoint_dir ncpu audio_fs channel "${decoding[@]}"
    funrecipe plan --model="$model" --data_dir="$decoded_data" --output_dir="$decoded" --batch_size="$batch_size" \
      --gpu_inference="$gpu_inference" --gpuid_list="$gpuid_list" --njob="$njob" --checkpoint_name="$checkpoint_name" \
      --resume="$resume" --allow_pipes="$allow_pipes" --allow_ffmpeg="$allow_ffmpeg" --backend="$backend" "${flags[@]}"
    digest=$(digest_of "$plan") # every step from here on is about this plan
    launch_jobs "$plan" "$digest"
    funrecipe merge --plan="$plan" --digest="$digest" --max_failed="$max_failed"
  fi
  embed_speakers
  join_recordings
elif [ "$stop_stage" -ge 2 ] && [ -e "$plan" ] && has_pieces; then
  check_cut
  asked model checkpoint_dir checkpoint_name audio_fs channel "${decoding[@]}"
  funrecipe plan --check=true --output_dir="$decoded" "${flags[@]}"
  digest=$(digest_of "$plan")
fi
[ -n "$digest" ] || digest=$(digest_without_pieces)
run_record=() # a plan of pieces has other ids than the results
if [ "$is_cut" = true ]; then run_record=(--digest="$digest"); else run_record=(--plan="$plan" --digest="$digest"); fi

if { stage 2 || stage 3; } && [ ! -d "$data_dir" ]; then die "no data directory '$data_dir'" 3; fi
if { stage 2 || stage 3; } && [ ! -e "$data_dir/text" ] && [ ! -L "$data_dir/text" ]; then
  log "$data_dir has no text: nothing to score"
  stop_stage=1
fi

if stage 2; then
  log "Stage 2: Computing WER ..."
  funrecipe score --results="$results" --data_dir="$data_dir" --partial_text="$partial_text" "${run_record[@]}" \
    ${hotword_txt:+--hotwords="$hotword_txt"}
fi

if stage 3; then
  log "Stage 3: SpeechIO TIOBE textnorm, profile $textnorm_profile: computing WER/CER and alignment ..."
  funrecipe score --protocol=speechio --profile="$textnorm_profile" --results="$results" --data_dir="$data_dir" \
    --partial_text="$partial_text" "${run_record[@]}"
fi

if stage 4; then
  log "Stage 4: Report ..."
  funrecipe report --data_dir="$data_dir" --digest="$digest" ${hotword_txt:+--hotwords="$hotword_txt"} -- "$output_dir"
fi

if [ -e "$plan" ] && has_pieces; then funrecipe status --data_dir="$decoded_data" -- "$decoded"; fi
