"""Which containers are taken, told by their first bytes: never by a name, and never by asking every demuxer there is.

Playlists, session descriptions and everything else that only points elsewhere are in no list, so nothing opens them.
"""

from collections.abc import Callable

_MOST_LINKS = 1000
HEAD_BYTES = 64
"""So much of a file's beginning tells what it is."""

CODECS = (
    "aac,aac_fixed,aac_latm,alac,amrnb,amrwb,flac,libopencore_amrnb,libopencore_amrwb,libopus,libvorbis,mp1,mp1float,mp2,"
    "mp2float,mp3,mp3float,opus,vorbis,wavpack,ac3,eac3,gsm,gsm_ms,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_g722,"
    "adpcm_g726,adpcm_g726le,adpcm_yamaha,adpcm_swf,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,"
    "pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_lpcm,pcm_bluray"
)
"""What may be inside. Pictures and moving ones are not decoded."""

OFFERED = "flac, mp3, mp4 (m4a), mpeg, ogg, wav, webm, aac, aiff or amr"


def demuxer(head: bytes) -> str | None:
    """FFmpeg's name of the demuxer for a file that begins with `head`; None: it is no container that is taken."""
    return next((name for name, fits in _SIGNS if fits(head)), None)


def tag_bytes(head: bytes) -> int:
    """How long the ID3 tag is that a file begins with, in bytes; what it is stands behind it. 0: there is none."""
    if len(head) < 10 or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:10]):
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def ogg_links(read: Callable[[int, int], bytes], begin: int) -> list[int]:
    """Where the links of a chained Ogg begin: streams one after the other, as of a radio, of which FFmpeg decodes one.

    Args:
        read: bytes of the file from a place on, at most so many.
        begin: where the first link begins.
    """
    links, at, opening = [begin], begin, True
    while (page := read(at, 27 + 255))[:4] == b"OggS" and len(page) >= 27:
        first = bool(page[5] & 2)
        if first and not opening:
            if len(links) == _MOST_LINKS:
                break
            links.append(at)
        opening = first
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return links


def _begins(sign: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head[at : at + len(sign)] == sign


def _form(kind: bytes, *kinds: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == kind and head[8:12] in kinds


def _mpeg_audio(head: bytes) -> bool:
    """A frame of layer I, II or III, whose rate and bit rate exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer != 0 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3


_SIGNS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("wav", _form(b"RIFF", b"WAVE")),
    ("wav", _form(b"RF64", b"WAVE")),
    ("flac", _begins(b"fLaC")),
    ("ogg", _begins(b"OggS")),
    *[("mov", _begins(atom, 4)) for atom in (b"ftyp", b"moov", b"mdat", b"wide")],
    ("matroska", _begins(b"\x1a\x45\xdf\xa3")),
    ("aiff", _form(b"FORM", b"AIFF", b"AIFC")),
    ("amr", _begins(b"#!AMR\n")),
    ("amr", _begins(b"#!AMR-WB\n")),
    ("mpeg", _begins(b"\x00\x00\x01\xba")),
    ("aac", lambda head: len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0),
    ("mp3", _mpeg_audio),
)
