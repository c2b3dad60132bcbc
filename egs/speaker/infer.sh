#!/usr/bin/env bash
# Embed speakers in parallel, then compare them or say who speaks when: bash egs/speaker/infer.sh --model M --data_dir D
# Stages: 0 validate, 1 embed, 2 xvector.scp and scores of trials, or rttm, 3 DER. Layout: docs/speakers.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option stage 0 "first stage to run" "0|1|2|3"
declare_option stop_stage 3 "last stage to run" count
declare_option task verification "verification: an embedding per utterance, and trials; diarization: who speaks when" "verification|diarization"
declare_option model damo/speech_campplus_sv_zh-cn_16k-common "model folder or id"
declare_option data_dir ./data/test "folder with wav.scp and, if there are any, trials; for diarization also segments, reco2num_spk, rttm"
declare_option output_dir ./results "folder of the results"
declare_option batch_size 64 "maximum number of utterances read ahead by each job" positive
declare_option gpu_inference auto "auto: available GPUs of gpuid_list, otherwise CPU; true: require them; false: CPU" "auto|true|false"
declare_option gpuid_list 0,1 "GPUs, one job each; a GPU may be listed twice"
declare_option njob 64 "number of CPU jobs, at most one per utterance" positive
declare_option ncpu "" "threads of each job; empty: cores / jobs" positive
# shellcheck source=utils/back_ends.sh
source "$recipe_root/utils/back_ends.sh"
declare_option resume true "keep the results of an interrupted run of the same plan"
declare_option max_failed 0 "publish results if at most N utterances fail" count
declare_option validate true "check the lists first (stage 0)"
declare_option allow_pipes false "run the commands that wav.scp names"
declare_option allow_ffmpeg false "let an installed ffmpeg read m4a, aac, amr, wma, webm and other formats that libsndfile does not"
declare_option audio_fs "" "sampling rate of raw .pcm and .raw files, in Hz; empty: the model's" positive
declare_option channel "" "channel of the audio to use, counted from 1, or mix: the mean of all; empty: 1"
declare_option vad_model "" "for diarization: VAD model that finds the speech; empty: segments of data_dir, else everything is speech"
declare_option num_speakers "" "number of speakers of each recording; empty: data_dir/reco2num_spk, else estimated" positive
declare_option collar 0.25 "seconds around each reference boundary that are not scored"
declare_option ignore_overlap false "do not score overlapping speech"
parse_options "$@"

text=$output_dir/1best_recog/text
plan=$output_dir/plan.json
digest=
windows=false
embedded_data=$data_dir
if [ "$task" = diarization ]; then
  windows=true
  if [ -n "$vad_model" ]; then embedded_data=$output_dir/speech; fi
fi
if [ -n "$vad_model" ]; then
  [ "$task" = diarization ] || die "--vad_model is for --task diarization"
  [ ! -e "$data_dir/segments" ] || die "$data_dir already has segments: leave out --vad_model"
fi

[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir must name a folder"
if [ "$stop_stage" -ge 1 ]; then only_run_in "$output_dir"; fi

if stage 0 && [ "$validate" = true ]; then
  log "Stage 0: Validating ..."
  funrecipe validate --data_dir="$data_dir" --allow_pipes="$allow_pipes"
fi

# Results of an earlier run must not stay next to those of this one.
forget_results() {
  rm -rf -- "$output_dir/1best_recog" "$output_dir"/xvector.* "$output_dir/scores" "$output_dir/rttm" "$output_dir/der.json"
}

# find_speech: a data directory of the segments of speech; a recording that cannot be read counts as failed.
find_speech() {
  local failed
  funrecipe segment --data_dir="$data_dir" --vad_model="$vad_model" --max_piece_s=60 --allow_pipes="$allow_pipes" \
    --allow_ffmpeg="$allow_ffmpeg" "${flags[@]}" --njob="$(nproc)" -- "$embedded_data"
  # Decoded pieces have some silence around them; segments of speech do not.
  # shellcheck disable=SC2016  # the fields are awk's
  write_file "$embedded_data/segments" \
    awk '{ printf "%s %s %.3f %.3f\n", $1, $2, $3 / 1000, $4 / 1000 }' < "$embedded_data/pieces"
  failed=$(wc -l < "$embedded_data/failed.scp")
  [ "$failed" -le "$max_failed" ] || { forget_results; die "recordings that cannot be read: $failed, see $embedded_data/failed.scp" 4; }
  if [ -e "$data_dir/reco2num_spk" ]; then write_file "$embedded_data/reco2num_spk" cat -- "$data_dir/reco2num_spk"; fi
}

compute_der() {
  local uem=$data_dir/uem
  [ -e "$uem" ] || uem=
  if [ -e "$data_dir/rttm" ]; then
    log "Stage 3: Computing DER ..."
    funrecipe der --ref="$data_dir/rttm" --hyp="$output_dir/rttm" --collar="$collar" \
      --ignore_overlap="$ignore_overlap" ${uem:+--uem="$uem"} --out="$output_dir/der.json"
  else
    log "$data_dir has no rttm: nothing to score"
  fi
}

if stage 1 && [ -n "$vad_model" ]; then
  log "Stage 1: Finding speech ..."
  given audio_fs channel
  find_speech
  if [ ! -s "$embedded_data/segments" ]; then
    log "no speech in $data_dir"
    forget_results
    write_file "$output_dir/rttm" true
    if stage 3; then compute_der; fi
    exit 0
  fi
fi

if stage 1; then
  log "Stage 1: Embedding ..."
  given ncpu audio_fs channel
  funrecipe plan --task=speaker --model="$model" --data_dir="$embedded_data" --output_dir="$output_dir" --batch_size="$batch_size" \
    --gpu_inference="$gpu_inference" --gpuid_list="$gpuid_list" --njob="$njob" --windows="$windows" \
    --resume="$resume" --allow_pipes="$allow_pipes" --allow_ffmpeg="$allow_ffmpeg" --backend="$backend" "${flags[@]}"
  digest=$(digest_of "$plan") # every step from here on is about this plan
  # What later stages made from an earlier run must not stay next to the embeddings of this one.
  rm -f "$output_dir"/xvector.* "$output_dir/scores" "$output_dir/rttm" "$output_dir/der.json"
  launch_jobs "$plan" "$digest"
  funrecipe merge --plan="$plan" --digest="$digest" --max_failed="$max_failed"
elif [ "$stop_stage" -ge 2 ] && [ -e "$plan" ]; then
  asked model audio_fs channel
  funrecipe plan --task=speaker --check=true --output_dir="$output_dir" --windows="$windows" "${flags[@]}"
fi

if { stage 2 || stage 3; } && [ ! -e "$text" ]; then die "no $text: run stage 1 first" 3; fi

if stage 2; then rm -f "$output_dir/scores" "$output_dir/rttm"; fi # of an earlier run, should this one fail
if { stage 2 || stage 3; } && [ "$task" = diarization ]; then rm -f "$output_dir/der.json"; fi

if stage 2 && [ "$task" = verification ]; then
  log "Stage 2: Writing vectors ..."
  funrecipe embed -- "$text" "$output_dir"
  if [ -e "$data_dir/trials" ]; then
    funrecipe verify -- "$data_dir/trials" "$output_dir/xvector.scp" "$output_dir/scores"
  fi
fi

if stage 2 && [ "$task" = diarization ]; then
  log "Stage 2: Clustering ..."
  given num_speakers
  funrecipe diarize --data_dir="$embedded_data" --allow_pipes="$allow_pipes" "${flags[@]}" -- "$text" "$output_dir/rttm"
fi

if stage 3 && [ "$task" = diarization ]; then compute_der; fi
