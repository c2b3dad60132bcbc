"""Import paths of ModelScope and FunASR for ported scripts, nothing else: ``constant``, ``modelscope_param``."""
