# shellcheck shell=bash
# Recordings are cut into pieces, which are decoded as a separate run and joined: options and steps for recipes.
# Source this file among the declarations; after parse_options call choose_pieces.
# shellcheck disable=SC2154,SC2034  # options are set by declare_option, variables are read by the recipe

declare_option vad_model "" "voice activity detection, folder or id: long recordings are cut into speech segments and joined (docs/long_audio.md)"
declare_option punc_model "" "punctuation of long recordings, folder or id; without vad_model they are cut where it is quiet"
declare_option formats "" "of long recordings: txt, json, srt, vtt, textgrid, ctm, rttm, into output_dir/transcripts"

# choose_pieces: sets is_cut, and decoded_data and decoded: what is decoded, and in which folder. Later stages alone take
# the run that is there.
choose_pieces() {
  is_cut=false decoded_data=$data_dir decoded=$output_dir
  if [ -n "$vad_model$punc_model$formats" ] ||
    { [ "$stage" -ge 2 ] && [ ! -e "$output_dir/plan.json" ] && [ -e "$output_dir/pieces/plan.json" ]; }; then
    is_cut=true decoded_data=$output_dir/pieces/data decoded=$output_dir/pieces
  fi
}

cut_recordings() {
  [ "$is_cut" = true ] || return 0
  funrecipe segment --data_dir="$data_dir" ${vad_model:+--vad_model="$vad_model"} --allow_pipes="$allow_pipes" \
    ${max_piece_s:+--max_piece_s="$max_piece_s"} ${audio_fs:+--audio_fs="$audio_fs"} ${channel:+--channel="$channel"} \
    --allow_ffmpeg="$allow_ffmpeg" --njob="$(nproc)" -- "$decoded_data"
}

# has_pieces: false for recordings without speech, which need no decoding.
has_pieces() { [ "$is_cut" = false ] || [ -s "$decoded_data/segments" ]; }

join_recordings() {
  [ "$is_cut" = true ] || return 0
  funrecipe join --piece_dir="$decoded_data" --results="$decoded/1best_recog" --max_failed="$max_failed" \
    ${punc_model:+--punc_model="$punc_model"} --formats="$formats" -- "$output_dir"
}
