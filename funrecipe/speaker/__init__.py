"""What follows a speaker embedding: verification, and who speaks when in a recording (diarization)."""
