"""How often each string between spaces comes in a text, counted in bounded memory: what tokenizers are trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import normalizers

# Different strings at once while they are counted, and of those the most that a tokenizer is trained on: their trainers
# take some hundred bytes a string.
_AT_ONCE, _MOST = 1 << 20, 1 << 19


class StringCounts:
    """Strings with how often they come; ``left_out`` is how often those came that were too rare to be kept.

    As long as there are fewer than half a million different ones, none is left out.
    """

    def __init__(self, texts: Iterable[str], normalizer: normalizers.Normalizer | None) -> None:
        self.counts: Counter[str] = Counter()
        self.left_out = 0
        for text in texts:
            self.counts.update(text.split())
            if len(self.counts) > _AT_ONCE:
                self._keep(_MOST)
        if normalizer is not None:
            # What a normalizer makes of a string never hangs on the strings beside it, so each is done once.
            raw, self.counts = self.counts, Counter()
            while raw:
                string, times = raw.popitem()
                for one in normalizer.normalize_str(string).split():
                    self.counts[one] += times
        if len(self.counts) > _MOST:
            self._keep(_MOST)

    def _keep(self, most: int) -> None:
        """Leave out the rarest, in the order of the alphabet among those of one count."""
        ranked = sorted(self.counts.items(), key=lambda one: (-one[1], one[0]))
        self.left_out += sum(times for _, times in ranked[most:])
        self.counts = Counter(dict(ranked[:most]))
