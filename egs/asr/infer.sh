#!/usr/bin/env bash
# Decode a Kaldi data directory in parallel and score it: bash egs/asr/infer.sh --model M --data_dir D --output_dir O
# Stages: 0 validate, 1 decode, 2 score (text.cer), 3 SpeechIO scoring, 4 report. Layout: docs/results_layout.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
# shellcheck source=utils/recipe.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../utils/recipe.sh"

declare_option stage 0 "first stage to run" count
declare_option stop_stage 2 "last stage to run" count
declare_option model damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch "model folder or id"
declare_option data_dir ./data/test "folder with wav.scp and, to be scored, text"
declare_option output_dir ./results "folder of the results"
declare_option batch_size 64 "most utterances decoded at once, by each job" count
declare_option gpu_inference auto "GPUs of gpuid_list that exist, else CPU (auto); those GPUs or an error (true); CPU (false)" "auto|true|false"
declare_option gpuid_list 0,1 "GPUs, one job each; a GPU may be named twice"
declare_option njob 64 "number of CPU jobs; fewer where there are fewer utterances" count
declare_option ncpu "" "threads of each job; empty: cores / jobs" count
declare_option backend local "what runs the jobs"
declare_option checkpoint_dir "" "folder of a fine-tuning run, whose weights replace the model's"
declare_option checkpoint_name valid.cer_ctc.ave.pb "weights in checkpoint_dir; if this default is not there, the average that the run itself chose"
declare_option resume true "keep what an interrupted run of the same plan decoded"
declare_option max_failed 0 "publish although so many utterances cannot be decoded; they count as deletions" count
declare_option validate true "check lists, ids and texts first (stage 0)"
declare_option allow_pipes false "run the commands that wav.scp names"
declare_option audio_fs "" "sampling rate of raw .pcm files, in Hz" count
declare_option textnorm_profile speechio "normalization of stage 3: speechio, funasr2023, strict or itn"
# Decoding; empty: as the model's decoding.yaml says. Sets the array "decoding" to the names.
# shellcheck source=utils/decode_options.sh
source "$recipe_root/utils/decode_options.sh"
parse_options "$@"

results=$output_dir/1best_recog
plan=$output_dir/plan.json
# Stands where stage 1 was begun over published results and did not end: those are not what these options give.
unfinished=$output_dir/.stage1_unfinished

[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir want a folder"
if stage 1 && [ -e "$results" ]; then
  : > "$unfinished" || die "cannot write in $output_dir" 3
fi

if stage 0 && [ "$validate" = true ]; then
  log "Stage 0: Validating ..."
  funrecipe validate --data_dir "$data_dir" --allow_pipes "$allow_pipes"
fi

if stage 1; then
  log "Stage 1: Decoding ..."
  given checkpoint_dir ncpu audio_fs "${decoding[@]}"
  funrecipe shard --model "$model" --data_dir "$data_dir" --output_dir "$output_dir" --batch_size "$batch_size" \
    --gpu_inference "$gpu_inference" --gpuid_list "$gpuid_list" --njob "$njob" --checkpoint_name "$checkpoint_name" \
    --resume "$resume" --allow_pipes "$allow_pipes" --backend "$backend" "${flags[@]}"
  funrecipe launch --plan "$plan" --backend "$backend"
  funrecipe merge --plan "$plan" --max_failed "$max_failed"
fi

if [ "$stop_stage" -ge 2 ] && [ -e "$unfinished" ]; then
  die "the last stage 1 in $output_dir failed, and what is there is older: run stage 1 again" 3
fi

if stage 2 || stage 3; then
  if [ ! -e "$data_dir/text" ]; then
    log "$data_dir has no text: nothing to score"
    stop_stage=1
  elif [ ! -e "$results/text" ]; then
    die "there is no $results/text: run stage 1 first" 3
  fi
fi

if stage 2; then
  log "Stage 2: Computing WER ..."
  rm -f "$results/text.cer" "$results/text.cer.json"  # never beside texts that they are not about
  cp "$results/text" "$results/text.proc" || die "cannot write in $results" 3
  cp "$data_dir/text" "$results/text.ref" || die "cannot write in $results" 3
  funrecipe score --ref "$results/text.ref" --hyp "$results/text.proc" --out "$results/text.cer" --data_dir "$data_dir" --plan "$plan" \
    ${hotword_txt:+--hotwords "$hotword_txt"}
fi

if stage 3; then
  log "Stage 3: SpeechIO TIOBE textnorm, profile $textnorm_profile: computing WER/CER and alignment ..."
  funrecipe score --protocol speechio --profile "$textnorm_profile" --ref "$data_dir/text" --hyp "$results/text" \
    --out_dir "$results" --plan "$plan"
fi

if stage 4; then
  log "Stage 4: Report ..."
  funrecipe report "$output_dir" --data_dir "$data_dir" ${hotword_txt:+--hotwords "$hotword_txt"}
fi

if [ -e "$plan" ] && [ ! -e "$unfinished" ]; then funrecipe status "$output_dir" --data_dir "$data_dir"; fi
