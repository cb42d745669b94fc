"""The vocabulary of tokenizer.json as GGUF keeps it: tokens by id, their kinds, and merges or scores.

Three families are known: WordPiece (BERT; word beginnings get GGUF's `▁`, continuations lose `##`), BPE with bytes as
fallback (Llama 1 and 2; the scores that SentencePiece had are the order of the ids), and byte-level BPE whose splitting
is that of GPT-2 or Llama 3. Another way to split text is refused: a wrong one would give other tokens without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from git_lepton.variants import folder
from git_lepton.variants.values import ModelFolder, Unsuitable

TOKENIZER: Final = "tokenizer.json"

_SPACE: Final = "\u2581"
_BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE_KIND = 1, 2, 3, 4, 5, 6
_MAX_TOKENS: Final = 4_000_000
_LLAMA3_DIGITS: Final = "\\p{N}{1,3}"


class Sizes(Protocol):
    """The one number of config.json that matters here."""

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number of config.json."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A tokenizer of a known family: its parsed file, and the folder it lies in."""

    family: Literal["wordpiece", "sentencepiece", "gpt-2", "llama-bpe"]
    value: Mapping[str, Any]
    folder: Path


def read(model: ModelFolder, beside: str) -> Tokenizer:
    """Read the tokenizer in the folder of a file.

    Raises:
        Unsuitable: it is not there, or of no known family.
    """
    name = folder.beside(beside, TOKENIZER)
    if name not in model.files:
        raise Unsuitable(f"GGUF needs {TOKENIZER} among the model's files")
    path = model.path / name
    value = folder.read_json(path)
    inner = value.get("model")
    if not isinstance(inner, dict) or not isinstance(inner.get("vocab"), dict):
        raise Unsuitable(f"{TOKENIZER} has no vocabulary by name")
    if inner.get("type") == "WordPiece":
        return Tokenizer("wordpiece", value, path.parent)
    if inner.get("type") == "BPE" and inner.get("byte_fallback"):
        return Tokenizer("sentencepiece", value, path.parent)
    splitting = str(value.get("pre_tokenizer"))
    if inner.get("type") == "BPE" and "ByteLevel" in splitting:
        if _LLAMA3_DIGITS in splitting:
            return Tokenizer("llama-bpe", value, path.parent)
        if "Split" not in splitting:
            return Tokenizer("gpt-2", value, path.parent)
    raise Unsuitable(f"{TOKENIZER} splits text in a way that is not known here")


def write(writer: Any, tokenizer: Tokenizer, kind: str, sizes: Sizes) -> None:
    """Add the vocabulary's keys to a GGUF writer.

    Raises:
        Unsuitable: the vocabulary does not fit the architecture or config.json.
    """
    import gguf

    if (kind == "BERT") != (tokenizer.family == "wordpiece"):
        raise Unsuitable(f"a {tokenizer.family} vocabulary does not belong to this architecture")
    texts, kinds = _tokens(tokenizer, sizes.whole("vocab_size"))
    match tokenizer.family:
        case "wordpiece":
            writer.add_tokenizer_model("bert")
            texts = [_phantom(text, kind) for text, kind in zip(texts, kinds, strict=True)]
        case "sentencepiece":
            writer.add_tokenizer_model("llama")
            first = next((i for i, kind in enumerate(kinds) if kind == _NORMAL), 0)
            scores = [float(first - i) if kind == _NORMAL else 0.0 for i, kind in enumerate(kinds)]
            writer.add_token_scores(scores)
            writer.add_add_space_prefix(_SPACE in str(tokenizer.value.get("normalizer")) or _prepends(tokenizer))
        case family:
            writer.add_tokenizer_model("gpt2")
            writer.add_tokenizer_pre(family)
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    merges = tokenizer.family in {"gpt-2", "llama-bpe"}
    gguf.SpecialVocab(tokenizer.folder, load_merges=merges, n_vocab=len(texts)).add_to_gguf(writer, quiet=True)


def _prepends(tokenizer: Tokenizer) -> bool:
    pre = tokenizer.value.get("pre_tokenizer")
    return isinstance(pre, dict) and pre.get("prepend_scheme") in {"first", "always"}


def _tokens(tokenizer: Tokenizer, size: int) -> tuple[list[str], list[int]]:
    """Text and kind of every id below `size`; ids that nothing uses are named as the converter names them."""
    inner = tokenizer.value["model"]
    by_id: dict[int, str] = {}
    for text, number in inner["vocab"].items():
        if type(number) is not int or not 0 <= number < _MAX_TOKENS:
            raise Unsuitable(f"{TOKENIZER} gives the token {text!r:.40} the impossible id {number!r:.20}")
        by_id[number] = text
    special: dict[int, bool] = {}
    for token in tokenizer.value.get("added_tokens") or []:
        if not isinstance(token, dict) or type(token.get("id")) is not int or not isinstance(token.get("content"), str):
            raise Unsuitable(f"{TOKENIZER} has an added token without id or content")
        by_id[token["id"]] = token["content"]
        special[token["id"]] = bool(token.get("special"))
    if size > _MAX_TOKENS or (by_id and not 0 <= max(by_id) < size):
        raise Unsuitable(f"{TOKENIZER} has the id {max(by_id)}, and config.json only {size} tokens")
    unknown = inner.get("unk_token")
    kinds = []
    for number in range(size):
        text = by_id.get(number)
        if text is None:
            kinds.append(_UNUSED)
        elif text == unknown and tokenizer.family == "sentencepiece":
            kinds.append(_UNKNOWN)
        elif number in special:
            kinds.append(_CONTROL if special[number] else _USER)
        elif tokenizer.family == "sentencepiece" and _BYTE.fullmatch(text):
            kinds.append(_BYTE_KIND)
        else:
            kinds.append(_NORMAL)
    return [by_id.get(number, f"[PAD{number}]") for number in range(size)], kinds


def _phantom(text: str, kind: int) -> str:
    """A WordPiece token in SentencePiece's way: what begins a word says so, not what continues one."""
    if kind in {_CONTROL, _UNUSED}:
        return text
    return text[2:] if text.startswith("##") else _SPACE + text
