"""Import path of ModelScope's audio data sets for ported scripts."""
