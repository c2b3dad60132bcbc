"""The table of normalization profiles.

Every result that was computed from normalized text names the profile and its version. The version ends in a hash of
the files that hold the profile's rules, so two results with the same version were normalized by the same rules.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources

from funrecipe.errors import unknown_name


@dataclass(frozen=True)
class Profile:
    """A named way to normalize text.

    Attributes:
        name: ``strict``, ``speechio``, ``funasr2023`` or ``itn``.
        version: what the rules follow and a hash of them, e.g. ``SpeechColab-678f55a+1a2b3c4d``.
        normalize: ``normalize(text) -> text``; pure, never raises on any string.
    """

    name: str
    version: str
    normalize: Callable[[str], str]

    @property
    def label(self) -> str:
        """Name and version, as records give them."""
        return f"{self.name} {self.version}"

    def normalize_all(self, *sides: Mapping[str, str]) -> list[dict[str, str]]:
        """Texts by id, of references and of hypotheses, normalized: each text once, since many are in both."""
        normal = {text: self.normalize(text) for text in {text for side in sides for text in side.values()}}
        return [{i: normal[text] for i, text in side.items()} for side in sides]


# name -> (what the rules follow, prefixes of the files that hold them, of which the first is the module, its flags)
_TABLE: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "strict": ("1", ("strict",), None),
    "speechio": ("SpeechColab-678f55a", ("speechio",), "LEADERBOARD"),
    "funasr2023": ("FunASR-7012ca2", ("speechio",), "FUNASR_2023"),
    "itn": ("1", ("itn", "strict"), None),
}
PROFILES = tuple(_TABLE)


def _rules_hash(prefixes: tuple[str, ...]) -> str:
    folder = resources.files(__package__)
    files = [f for f in folder.iterdir() if f.name.startswith(prefixes) and f.name.endswith((".py", ".txt"))]
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda f: f.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


@cache
def get_profile(name: str) -> Profile:
    """The profile called ``name``; its rules are loaded now, not on import.

    Raises:
        UsageError: no profile has that name.
    """
    if name not in _TABLE:
        raise unknown_name("no normalization profile", name, PROFILES)
    follows, prefixes, flags = _TABLE[name]
    module = importlib.import_module(f"{__package__}.{prefixes[0]}")
    normalize = partial(module.normalize, flags=getattr(module, flags)) if flags else module.normalize
    return Profile(name, f"{follows}+{_rules_hash(prefixes)}", normalize)
