"""Recordings of any length: cut into pieces, recognized, joined to words with times, sentences and speakers."""
