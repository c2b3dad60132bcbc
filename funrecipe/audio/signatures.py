"""What a source is, by its content: one table for paths, bytes, pipes and archive entries.

A source with a signature has that format, readable here or not; only one without can be raw samples. Formats
without a fixed signature (MPEG audio, ADTS, LOAS, AC-3) are recognized by consecutive frames, see ``frames``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from funrecipe.audio.frames import find_frames

HEAD_BYTES = 32768  # how much of a source ``identify`` looks at: several frames of any format
SIGNATURE_BYTES = 512  # more than any fixed signature has
MIN_TEXT_BYTES = 16
HTK_PERIODS = rb"(\x02\x71|\x04\xe2|\x00[\xe2\xe3\xd0]|\x01[\x38\xc5\xc6]|\x03\x8b)"  # of the usual rates, in 100 ns
ID3_SIZE = re.compile(rb"ID3[\x02-\x04].[\x00-\xff]([\x00-\x7f]{4})", re.DOTALL)


class Format(NamedTuple):
    """A format and who reads it.

    Attributes:
        name: for messages.
        reader: the part of this package that reads its layout (``riff``, ``flac``, ``ogg``, ...), ``plain`` where
            libsndfile suffices, ``foreign`` where only ffmpeg reads it, ``not audio``.
        demuxer: ffmpeg's name of it, empty where ffmpeg does not read it either.
    """

    name: str
    reader: str
    demuxer: str = ""


MPEG = Format("MPEG audio (mp3, mp2)", "mpeg", "mp3")
BY_FRAMES = {
    "mpeg": MPEG,
    "free": Format("MPEG audio in free format", "foreign"),
    "adts": Format("AAC (ADTS)", "foreign", "aac"),
    "loas": Format("AAC (LOAS)", "foreign", "loas"),
    "ac3": Format("AC-3", "foreign", "ac3"),
    "ts": Format("MPEG transport stream", "foreign", "mpegts"),
}
TEXT = Format("text", "not audio")

_TABLE: tuple[tuple[bytes, str, str, str], ...] = (
    # Read by libsndfile, lengths checked by this package.
    (rb"RIFF.{4}WAVE", "WAV", "riff", "wav"),
    (rb"RIFX.{4}WAVE", "WAV (RIFX)", "rifx", ""),
    (rb"(RF64|BW64).{4}WAVE", "WAV (RF64)", "rf64", "wav"),
    (rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", "Wave64", "w64", "w64"),
    (rb"FORM.{4}AIF[FC]", "AIFF", "aiff", "aiff"),
    (rb"caff\x00\x01", "CAF", "caf", "caf"),
    (rb"\.snd|dns\.", "AU", "au", "au"),
    (rb"NIST_1A\n", "NIST SPHERE", "nist", "nistsphere"),
    (rb"fLaC", "FLAC", "flac", "flac"),
    (rb"OggS\x00.{23}Speex   ", "Ogg Speex", "ogg", "ogg"),
    (rb"OggS\x00.{23}\x7fFLAC", "Ogg FLAC", "ogg", "ogg"),
    (rb"OggS\x00", "Ogg", "ogg", "ogg"),
    (rb"\x00B[FDC][MV][23]? |\x00B\x04", "Kaldi matrix", "kaldi", ""),
    (rb"AUDIO[\x01-\x08]", "kaldiio's block of a file", "wrapped", ""),
    # Read by libsndfile, which gets their lengths right.
    (rb"FORM.{4}(8SVX|16SV)", "IFF 8SVX", "aiff", "iff"),
    (rb"Creative Voice File\x1a", "VOC", "voc", "voc"),
    (rb" paf|fap ", "PARIS", "plain", ""),
    (rb"PVF1\n", "PVF", "plain", "pvf"),
    (rb"2BIT", "AVR", "avr", "avr"),
    (rb"\x64\xa3[\x01-\x04]\x00|\x00[\x01-\x04]\xa3\x64", "IRCAM", "plain", "ircam"),
    (rb"ALawSoundFile", "Psion WVE", "plain", ""),
    (rb"Extended Instrument: ", "FastTracker XI", "plain", ""),
    (rb"MATLAB 5\.0 MAT-file", "MATLAB", "plain", ""),
    (rb"\x00.{3}\x00\x00" + HTK_PERIODS + rb"\x00\x02\x00\x00", "HTK", "plain", ""),
    # Audio that libsndfile does not read.
    (rb".{4}ftyp|.{4}(moov|mdat|wide|free|skip|pnot)", "MP4/M4A/QuickTime", "foreign", "mov"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (ASF, WMA)", "foreign", "asf"),
    (rb"\x1a\x45\xdf\xa3", "WebM/Matroska", "foreign", "matroska"),
    (rb"#!AMR-WB", "AMR-WB", "foreign", "amr"),
    (rb"#!AMR", "AMR", "foreign", "amr"),
    (rb"ADIF", "AAC (ADIF)", "foreign", "aac"),
    (rb"wvpk", "WavPack", "foreign", "wv"),
    (rb"TTA[12]", "True Audio (TTA)", "foreign", "tta"),
    (rb"MAC ", "Monkey's Audio (APE)", "foreign", "ape"),
    (rb"MPCK", "Musepack", "foreign", "mpc8"),
    (rb"MP\+", "Musepack", "foreign", "mpc"),
    (rb"tBaK", "TAK", "foreign", "tak"),
    (rb"ajkg", "Shorten", "foreign", "shn"),
    (rb"OFR ", "OptimFROG", "foreign", ""),
    (rb"DSD ", "DSF", "foreign", "dsf"),
    (rb"FRM8", "DSDIFF", "foreign", "iff"),
    (rb"FLV\x01", "Flash video", "foreign", "flv"),
    (rb"\.ra\xfd|\.RMF", "RealAudio", "foreign", "rm"),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\x00|\xff\x1f\x00\xe8", "DTS", "foreign", "dts"),
    (rb"\x00\x00\x01\xba", "MPEG program stream", "foreign", "mpeg"),
    (rb"RIFF.{4}AVI ", "AVI", "foreign", "avi"),
    (rb"RIF[FX]|RF64|BW64", "RIFF that is not WAVE, or corrupt", "not audio", ""),
    (rb"\x02?#!SILK", "SILK", "foreign", ""),
    (rb"#!(iLBC|EVRC|QCELP|SMV)", "telephone codec", "foreign", ""),
    (rb"qoaf", "QOA", "foreign", "qoa"),
    (rb"FORM.{4}[A-Z]", "IFF that is not audio", "not audio", ""),
    # What is often found under an audio name by mistake.
    (rb"MThd\x00\x00\x00\x06", "MIDI", "not audio", ""),
    (rb"PK\x03\x04|PK\x05\x06", "ZIP archive", "not audio", ""),
    (rb"\x1f\x8b\x08[\x00-\x1f]", "gzip archive", "not audio", ""),
    (
        rb"BZh[1-9]1AY&SY|\xfd7zXZ\x00|7z\xbc\xaf\x27\x1c|\x28\xb5\x2f\xfd|Rar!\x1a",
        "archive",
        "not audio",
        "",
    ),
    (rb".{257}ustar", "tar archive", "not audio", ""),
    (rb"\x93NUMPY", "numpy array", "not audio", ""),
    (rb"\x89HDF\r\n|\x7fELF|SQLite format 3\x00|%PDF-", "file of another kind", "not audio", ""),
    (rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xdb\xe0\xe1\xee]|GIF8[79]a", "picture", "not audio", ""),
)
TABLE = tuple((re.compile(pattern, re.DOTALL), Format(*rest)) for pattern, *rest in _TABLE)


def by_signature(head: bytes) -> Format | None:
    """The format whose fixed signature ``head`` begins with, or None."""
    return next((found for pattern, found in TABLE if pattern.match(head)), None)


def identify(head: bytes) -> Format | None:
    """The format of a source that begins with ``head``, without ID3 tags; None if nothing identifies it."""
    if found := by_signature(head):
        return found
    if frames := find_frames(head):
        return BY_FRAMES[frames[0]]
    return TEXT if _is_text(head) else None


def id3_bytes(head: bytes) -> int:
    """Size of the ID3v2 tag that ``head`` begins with (of its first ten bytes alone), or 0."""
    match = ID3_SIZE.match(head)
    if match is None:
        return 0
    size = 0
    for byte in match[1]:
        size = size << 7 | byte
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _is_text(head: bytes) -> bool:
    """A web page, a Git LFS pointer, base64, ...: speech always has zero bytes or bytes that are not UTF-8."""
    if len(head) < MIN_TEXT_BYTES:
        return False
    try:
        text = head[:512].decode("utf-8", "strict" if len(head) <= 512 else "ignore")
    except UnicodeDecodeError:
        return False
    long_enough = len(text.encode()) >= min(len(head), 512) - 3  # a character may be cut at the end
    return long_enough and len(set(text)) > 8 and all(c.isprintable() or c in "\t\r\n\ufeff" for c in text)
