"""Import path of ModelScope's data sets for ported scripts."""
