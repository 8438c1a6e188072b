"""Whisper's languages, and what clients call them: codes, BCP 47 tags and English names become one code, or an error.

The table is Whisper's own, with the aliases of its tokenizer. `langcodes` reads the tags, old and three-letter codes.
"""

from collections.abc import Collection
from functools import lru_cache

import langcodes

NAMES = {
    "en": "english",
    "zh": "chinese",
    "de": "german",
    "es": "spanish",
    "ru": "russian",
    "ko": "korean",
    "fr": "french",
    "ja": "japanese",
    "pt": "portuguese",
    "tr": "turkish",
    "pl": "polish",
    "ca": "catalan",
    "nl": "dutch",
    "ar": "arabic",
    "sv": "swedish",
    "it": "italian",
    "id": "indonesian",
    "hi": "hindi",
    "fi": "finnish",
    "vi": "vietnamese",
    "he": "hebrew",
    "uk": "ukrainian",
    "el": "greek",
    "ms": "malay",
    "cs": "czech",
    "ro": "romanian",
    "da": "danish",
    "hu": "hungarian",
    "ta": "tamil",
    "no": "norwegian",
    "th": "thai",
    "ur": "urdu",
    "hr": "croatian",
    "bg": "bulgarian",
    "lt": "lithuanian",
    "la": "latin",
    "mi": "maori",
    "ml": "malayalam",
    "cy": "welsh",
    "sk": "slovak",
    "te": "telugu",
    "fa": "persian",
    "lv": "latvian",
    "bn": "bengali",
    "sr": "serbian",
    "az": "azerbaijani",
    "sl": "slovenian",
    "kn": "kannada",
    "et": "estonian",
    "mk": "macedonian",
    "br": "breton",
    "eu": "basque",
    "is": "icelandic",
    "hy": "armenian",
    "ne": "nepali",
    "mn": "mongolian",
    "bs": "bosnian",
    "kk": "kazakh",
    "sq": "albanian",
    "sw": "swahili",
    "gl": "galician",
    "mr": "marathi",
    "pa": "punjabi",
    "si": "sinhala",
    "km": "khmer",
    "sn": "shona",
    "yo": "yoruba",
    "so": "somali",
    "af": "afrikaans",
    "oc": "occitan",
    "ka": "georgian",
    "be": "belarusian",
    "tg": "tajik",
    "sd": "sindhi",
    "gu": "gujarati",
    "am": "amharic",
    "yi": "yiddish",
    "lo": "lao",
    "uz": "uzbek",
    "fo": "faroese",
    "ht": "haitian creole",
    "ps": "pashto",
    "tk": "turkmen",
    "nn": "nynorsk",
    "mt": "maltese",
    "sa": "sanskrit",
    "lb": "luxembourgish",
    "my": "myanmar",
    "bo": "tibetan",
    "tl": "tagalog",
    "mg": "malagasy",
    "as": "assamese",
    "tt": "tatar",
    "haw": "hawaiian",
    "ln": "lingala",
    "ha": "hausa",
    "ba": "bashkir",
    "jw": "javanese",
    "su": "sundanese",
    "yue": "cantonese",
}
"""Whisper's codes and the names it gives them. A model has all of them, all but `yue`, or English alone."""

_BY_NAME = {
    **{name: code for code, name in NAMES.items()},
    "burmese": "my",
    "castilian": "es",
    "farsi": "fa",
    "filipino": "tl",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
}
_WHISPERS = {"fil": "tl", "jv": "jw", "nb": "no", "cmn": "zh"}
"""Codes as they are standardised today, where Whisper has another."""
_LONGEST = 64


class LanguageError(ValueError):
    """A language that cannot be transcribed; the message says which, and what can be said instead."""


def read(text: str | None) -> str | None:
    """Whisper's code of a language as a client wrote it; None, which is detection, for nothing and `auto`.

    Raises:
        LanguageError: there is no such language, or Whisper does not know it.
    """
    plain = (text or "").strip().casefold().replace("_", "-")
    if plain in ("", "auto"):
        return None
    code = _code(plain) if len(plain) <= _LONGEST else None
    if code not in NAMES:
        raise LanguageError(
            f"language {(text or '')[:_LONGEST]!r} is not known; use a code such as de or pt-BR, "
            "an English name such as german, or auto"
        )
    return code


@lru_cache(maxsize=256)
def _code(plain: str) -> str | None:
    return _BY_NAME.get(plain.replace("-", " ")) or _standard(plain)


def _standard(tag: str) -> str | None:
    try:
        found = langcodes.Language.get(langcodes.standardize_tag(tag, macro=True)).language
    except ValueError:
        return None
    return _WHISPERS.get(found, found) if found else None


def check(code: str | None, known: Collection[str] | None, model: str) -> None:
    """Whether a model can be asked for a language; one that says nothing of its languages can be asked for any.

    Raises:
        LanguageError: it cannot.
    """
    if code is None or known is None or code in known:
        return
    if list(known) == ["en"]:
        raise LanguageError(f"the model {model} knows English only, not {code}; use en, or leave language out")
    raise LanguageError(f"the model {model} does not know {code}; name another language, or leave it out")
