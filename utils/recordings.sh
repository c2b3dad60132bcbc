# shellcheck shell=bash
# Recordings are cut into pieces, which are decoded as a separate run and joined: options and steps for recipes.
# Source this file among the declarations; after parse_options call choose_pieces.
# shellcheck disable=SC2154,SC2034  # options are set by declare_option, variables are read by the recipe

declare_option vad_model "" "voice activity detection, folder, id, or auto (as the model's configuration.json says): long recordings are cut into speech segments and joined (docs/long_audio.md)"
declare_option merge_vad false "take neighboring segments of the VAD together, as FunASR's option of this name" "true|false"
declare_option merge_length_s "" "with merge_vad: up to so many seconds; empty: 15"
declare_option punc_model "" "punctuation of long recordings, folder, id or auto; without vad_model they are cut where it is quiet"
declare_option spk_model "" "speaker embeddings, folder or id: who speaks in long recordings (docs/speakers.md)"
declare_option num_speakers "" "number of speakers of each recording; empty: data_dir/reco2num_spk, else estimated" positive
declare_option formats "" "of long recordings: txt, json, srt, vtt, textgrid, ctm, rttm, into output_dir/transcripts"

# choose_pieces: sets is_cut, and decoded_data and decoded: what is decoded, and in which folder. If only later
# stages run, they use the existing run.
choose_pieces() {
  [ "$merge_vad" = false ] || [ -n "$vad_model" ] || die "--merge_vad has no effect without --vad_model"
  [ -z "$merge_length_s" ] || [ "$merge_vad" = true ] || die "--merge_length_s has no effect without --merge_vad true"
  [ -z "$num_speakers" ] || [ -n "$spk_model" ] || die "--num_speakers has no effect without --spk_model"
  is_cut=false decoded_data=$data_dir decoded=$output_dir
  if [ -n "$vad_model$punc_model$spk_model$formats" ] ||
    { [ "$stage" -ge 2 ] && [ ! -e "$output_dir/plan.json" ] && [ -e "$output_dir/pieces/plan.json" ]; }; then
    is_cut=true decoded_data=$output_dir/pieces/data decoded=$output_dir/pieces
  fi
}

cut_options=(vad_model merge_vad merge_length_s)

# check_cut: without stage 1, refuses options of cutting that are not those of the pieces.
check_cut() {
  local name
  [ -e "$decoded/cut_options" ] || return 0
  for name in "${cut_options[@]}"; do
    [ -z "${option_given[$name]:-}" ] || grep -qxF -- "$name=${!name}" "$decoded/cut_options" ||
      die "the recordings were cut with another $name than '${!name}': run stage 1 with it, or leave it out" 3
  done
}

cut_recordings() {
  [ "$is_cut" = true ] || return 0
  funrecipe segment --data_dir="$data_dir" --model="$model" ${vad_model:+--vad_model="$vad_model"} \
    --merge_vad="$merge_vad" ${merge_length_s:+--merge_length_s="$merge_length_s"} \
    ${punc_model:+--punc_model="$punc_model"} ${spk_model:+--spk_model="$spk_model"} --formats="$formats" --allow_pipes="$allow_pipes" \
    ${max_piece_s:+--max_piece_s="$max_piece_s"} ${audio_fs:+--audio_fs="$audio_fs"} ${channel:+--channel="$channel"} \
    --allow_ffmpeg="$allow_ffmpeg" --njob="$(nproc)" -- "$decoded_data"
  local name lines=()
  for name in "${cut_options[@]}"; do lines+=("$name=${!name}"); done
  write_file "$decoded/cut_options" printf '%s\n' "${lines[@]}"
}

# has_pieces: false for recordings without speech, which need no decoding.
has_pieces() { [ "$is_cut" = false ] || [ -s "$decoded_data/segments" ]; }

# embed_speakers: the windows of all pieces, as another run on them, in output_dir/speakers.
embed_speakers() {
  if [ -z "$spk_model" ] || ! has_pieces; then return 0; fi
  local folder=$output_dir/speakers of_speakers
  log "Stage 1: Embedding speakers ..."
  given ncpu audio_fs channel
  funrecipe plan --task=speaker --windows=true --model="$spk_model" --data_dir="$decoded_data" --output_dir="$folder" \
    --batch_size="$batch_size" --gpu_inference="$gpu_inference" --gpuid_list="$gpuid_list" --njob="$njob" \
    --resume="$resume" --allow_pipes="$allow_pipes" --allow_ffmpeg="$allow_ffmpeg" --backend="$backend" "${flags[@]}"
  of_speakers=$(digest_of "$folder/plan.json")
  launch_jobs "$folder/plan.json" "$of_speakers"
  funrecipe merge --plan="$folder/plan.json" --digest="$of_speakers" --max_failed="$max_failed"
}

join_recordings() {
  [ "$is_cut" = true ] || return 0
  local who=()
  if [ -n "$spk_model" ]; then
    who=(--speakers="$output_dir/speakers/1best_recog" ${num_speakers:+--num_speakers="$num_speakers"})
    if [ -e "$data_dir/reco2num_spk" ]; then who+=(--reco2num_spk="$data_dir/reco2num_spk"); fi
  fi
  funrecipe join --piece_dir="$decoded_data" --results="$decoded/1best_recog" --max_failed="$max_failed" \
    ${punc_model:+--punc_model="$punc_model" --model="$model"} "${who[@]}" --formats="$formats" -- "$output_dir"
}

# digest_without_pieces: what identifies the results of recordings without speech.
digest_without_pieces() {
  if ! has_pieces && [ -e "$decoded_data/.digest" ]; then printf '%s' "$(< "$decoded_data/.digest")"; fi
}
