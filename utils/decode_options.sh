# shellcheck shell=bash
# Written by tools/write_option_lists.py from funrecipe/decode/options.py; do not edit.
declare_option beam_size "" 'hypotheses kept by the search; 1: greedy; not sense_voice' count
declare_option nbest "" 'hypotheses returned per utterance; not sense_voice' count
declare_option ctc_weight "" 'weight of the CTC scores in the search; not rnnt, rnnt_unified, sense_voice, uniasr'
declare_option lm_weight "" 'weight of the language model in the search; not sense_voice'
declare_option ngram_weight "" 'weight of the model folder'"'"'s n-grams; not sense_voice'
declare_option penalty "" 'score added per token; not rnnt, rnnt_unified, sense_voice'
declare_option maxlenratio "" 'longest hypothesis, as a share of the encoder frames; only asr'
declare_option minlenratio "" 'shortest hypothesis, as a share of the encoder frames (Paraformer: of the predicted tokens); not rnnt, rnnt_unified, sense_voice, uniasr'
declare_option token_num_relax "" 'number of tokens that a hypothesis may have beyond those predicted; only uniasr' count
declare_option decoding_ind "" 'index of the chunk shape of a streaming or two-pass model; only paraformer_online, uniasr' count
declare_option decoding_mode "" 'UniASR: fast, normal, offline; asr: joint, ctc_greedy, ctc_prefix; rnnt: full_utt, simu_chunk; only asr, rnnt, rnnt_unified, uniasr'
declare_option search_type "" 'search of a transducer; only rnnt, rnnt_unified' 'default|tsd|alsd|maes'
declare_option score_norm "" 'order transducer hypotheses by score per token; only rnnt, rnnt_unified' 'true|false'
declare_option hotword_txt "" 'file of hotwords, one per line, or the words separated by spaces; only asr, contextual_paraformer, neatcontextual_paraformer, rnnt, rnnt_unified, seaco_paraformer'
declare_option clas_scale "" 'weight of the hotwords in a contextual model; only contextual_paraformer, neatcontextual_paraformer'
declare_option language "" 'spoken language; only sense_voice' 'auto|zh|en|yue|ja|ko|nospeech'
declare_option use_itn "" 'write punctuation and digits; only sense_voice' 'true|false'
declare_option ban_emo_unk "" 'never report an unknown emotion; only sense_voice' 'true|false'
declare_option output "" 'text without tags (plain), as the model writes it (rich) or with emoji; only sense_voice' 'plain|rich|emoji'
declare_option timestamp "" 'give the time of every token, by the CTC head; not paraformer_online, rnnt, rnnt_unified, sense_voice, uniasr' 'true|false'
declare_option windows "" 'embed windows of 1.5 s of each utterance, for diarization; only campplus, eres2netv2, sv' 'true|false'
declare_option engine "" 'run the network with torch, or onnx (onnxruntime, for a folder made by funrecipe export)' 'torch|onnx'
declare_option precision "" 'fp32; faster, almost the same: bf16, fp16 or int8 (CPU only), tf32 (GPU only); auto: bf16 if it changes little (docs/speed.md)' 'fp32|tf32|bf16|fp16|int8|auto'
declare_option max_piece_s "" 'cut audio longer than this many seconds into pieces; 0: never; not set: 30'
# shellcheck disable=SC2034  # read by the recipe
decoding=(beam_size nbest ctc_weight lm_weight ngram_weight penalty maxlenratio minlenratio token_num_relax decoding_ind decoding_mode search_type score_norm hotword_txt clas_scale language use_itn ban_emo_unk output timestamp windows engine precision max_piece_s)
