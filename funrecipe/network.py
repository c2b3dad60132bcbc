"""Fetching a URL that a user named (audio, a list of hotwords), only where the user allowed it."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request

from funrecipe.errors import DataError, UsageError

ALLOW_VARIABLE = "FUNRECIPE_ALLOW_NETWORK"
TIMEOUT_S = 60.0
MAX_BYTES = 1 << 30
URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"  # besides letters and digits: what is left as it stands in a URL


def is_url(text: object) -> bool:
    return isinstance(text, str) and text.lower().startswith(("http://", "https://"))


def network_allowed(explicit: bool = False) -> bool:
    """Whether the user allowed the network, by argument or by ``FUNRECIPE_ALLOW_NETWORK=true``."""
    return explicit or os.environ.get(ALLOW_VARIABLE, "").lower() in ("1", "true", "yes")


def fetch_url(url: str, *, allow_network: bool = False) -> bytes:
    """The content behind an http address.

    Raises:
        UsageError: the network was not allowed.
        DataError: it cannot be fetched as a whole, or is larger than 1 GiB.
    """
    if not network_allowed(allow_network):
        raise UsageError(
            f"'{url}' would use the network",
            hint=f"download it yourself, or allow it: allow_network=True, or {ALLOW_VARIABLE}=true",
        )
    try:
        with urllib.request.urlopen(urllib.parse.quote(url, URL_CHARACTERS), timeout=TIMEOUT_S) as response:
            content = bytes(response.read(MAX_BYTES + 1))
            missing = 0 if len(content) > MAX_BYTES else response.length  # bytes that were announced but not sent
    except urllib.error.HTTPError as error:
        raise DataError(f"cannot fetch: HTTP {error.code} {error.reason}", where=url) from None
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, OSError, ValueError) as error:
        raise DataError(f"cannot fetch: {getattr(error, 'reason', error)}", where=url) from None
    if missing:
        hint = "try again later"
        raise DataError(f"cannot fetch: the connection ended {missing} bytes too early", where=url, hint=hint)
    if len(content) > MAX_BYTES:
        raise DataError(f"larger than {MAX_BYTES} bytes", where=url)
    return content
