"""Text normalization: named, versioned profiles. No torch.

>>> from funrecipe.text.normalize import get_profile
>>> get_profile("strict").normalize("3月8日涨了2.5%")
'三月八日涨了百分之二点五'
"""

from funrecipe.text.normalize.profiles import PROFILES, Profile, get_profile

__all__ = ["PROFILES", "Profile", "get_profile"]
