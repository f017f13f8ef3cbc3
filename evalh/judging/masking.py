"""Masking: hides from a judge who wrote an output, and records what was hidden.

Two things are masked. The names of the systems in the comparison, anywhere. And any known name of a model or a vendor where
the text identifies its own author by it ("As ChatGPT, I …", "a language model trained by Google", "— Claude"); talk about
models stays. Every masked name becomes the same token, nothing else of the text changes, and masking a masked text
changes nothing.

How it works, in linear time: the text is folded (compatibility forms, look-alike letters, invisible characters), known
names in it are found by dictionary and each becomes one placeholder character, and short patterns per language run over
that skeleton. Every repetition in a pattern is bounded, so that no text can make one backtrack far (a test holds this).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from evalh.errors import EvalhError
from evalh.judging.families import Families
from evalh.judging.self_reference import MODEL, PATTERNS, VENDOR

TOKEN = "[name withheld]"
SHORTEST_NAME = 3  # characters; a shorter name is a syllable of ordinary words
MOST_PASSES = 20  # each pass but the last masks something that an earlier match hid; two are usual

_LOOKALIKES = str.maketrans(
    "абвгеѕіјкӏмнорԛѕтухԝьԁһɡᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘᴛᴜᴠᴡʏᴢıαβεικνορτυχ",
    "aбвгesijкlмнopqsтyxwьdhgabcdeghijklmnoptuvwyziaβεikvoptux",
)
