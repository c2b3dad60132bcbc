#!/usr/bin/env bash
# Find speech in a list of recordings in parallel: bash egs/vad/infer.sh --model M --data_dir D --output_dir O
# Stages: 0 validate, 1 detect (1best_recog/text), 2 score against D/segments.ref or D/rttm. Docs: docs/vad.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option stage 0 "first stage to run" "0|1|2"
declare_option stop_stage 2 "last stage to run" count
declare_option model damo/speech_fsmn_vad_zh-cn-16k-common-pytorch "model folder or id"
declare_option data_dir ./data/test "folder with wav.scp and, for scoring, rttm or segments.ref (key [[start_ms, end_ms], ...])"
declare_option output_dir ./results "folder of the results"
declare_option batch_size 1 "maximum number of recordings read ahead by each job" positive
declare_option gpu_inference auto "auto: available GPUs of gpuid_list, otherwise CPU; true: require them; false: CPU" "auto|true|false"
declare_option gpuid_list 0,1 "GPUs, one job each; a GPU may be listed twice"
declare_option njob 64 "number of CPU jobs, at most one per recording" positive
declare_option ncpu "" "threads of each job; empty: cores / jobs" positive
# shellcheck source=utils/back_ends.sh
source "$recipe_root/utils/back_ends.sh"
declare_option checkpoint_dir "" "folder of a fine-tuning run, whose weights replace the model's"
declare_option checkpoint_name valid.cer_ctc.ave.pb "weights in checkpoint_dir"
declare_option resume true "keep what an interrupted run of the same plan found"
declare_option max_failed 0 "publish results if at most N recordings fail" count
declare_option validate true "check the lists first (stage 0)"
declare_option allow_pipes false "run the commands that wav.scp names"
declare_option allow_ffmpeg false "let an installed ffmpeg read m4a, aac, amr, wma, webm and other formats that libsndfile does not"
declare_option audio_fs "" "sampling rate of raw .pcm and .raw files, in Hz; empty: the model's" positive
declare_option channel "" "channel of the audio to use, counted from 1, or mix: the mean of all; empty: 1"
parse_options "$@"

plan=$output_dir/plan.json
[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir must name a folder"
if [ "$stop_stage" -ge 1 ]; then only_run_in "$output_dir"; fi

if stage 0 && [ "$validate" = true ]; then
  log "Stage 0: Validating ..."
  funrecipe validate --data_dir="$data_dir" --allow_pipes="$allow_pipes"
fi

if stage 1; then
  log "Stage 1: Detecting ..."
  given checkpoint_dir ncpu audio_fs channel
  funrecipe plan --task=vad --model="$model" --data_dir="$data_dir" --output_dir="$output_dir" --batch_size="$batch_size" \
    --gpu_inference="$gpu_inference" --gpuid_list="$gpuid_list" --njob="$njob" --checkpoint_name="$checkpoint_name" \
    --resume="$resume" --allow_pipes="$allow_pipes" --allow_ffmpeg="$allow_ffmpeg" --backend="$backend" "${flags[@]}"
  digest=$(digest_of "$plan") # every step from here on is about this plan
  rm -f "$output_dir/vad.json"
  launch_jobs "$plan" "$digest"
  funrecipe merge --plan="$plan" --digest="$digest" --max_failed="$max_failed"
elif [ "$stop_stage" -ge 2 ] && [ -e "$plan" ]; then
  asked model checkpoint_dir checkpoint_name audio_fs channel
  funrecipe plan --task=vad --check=true --output_dir="$output_dir" "${flags[@]}"
fi

if stage 2; then
  rm -f "$output_dir/vad.json" # of an earlier run, should this one fail
  ref=$data_dir/rttm
  [ -e "$ref" ] || ref=$data_dir/segments.ref
  if [ -e "$ref" ]; then
    [ -e "$output_dir/1best_recog/text" ] || die "no $output_dir/1best_recog/text: run stage 1 first" 3
    log "Stage 2: Scoring ..."
    durations=$data_dir/reco2dur
    [ -e "$durations" ] || durations=
    funrecipe score_vad --ref="$ref" --hyp="$output_dir/1best_recog/text" ${durations:+--reco2dur="$durations"} \
      --out="$output_dir/vad.json"
  else
    log "$data_dir has no rttm and no segments.ref: nothing to score"
  fi
fi
