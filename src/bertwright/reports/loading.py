"""How a card says to load a model: with the ordinary classes alone, and with bertwright."""

from __future__ import annotations

from collections.abc import Sequence

from bertwright.reports.words import one_line
from bertwright.tasks.texts import columns_of, text_columns

_DECIDE = {
    "classification": "print(model.config.id2label[int(logits.argmax())])",
    "multi-label": "print([model.config.id2label[n] for n, one in enumerate(logits.sigmoid()[0]) if one > 0.5])",
    "regression": "print(float(logits))",
}


def load_classifier(text: Sequence[str], kind: str, max_length: int) -> str:
    """Return how a classifier's folder is loaded; ``text`` are its columns, or patterns of columns."""
    texts = ", ".join(repr(f"text of {' and '.join(text_columns(one))}") for one in text)
    return f"""\
Without bertwright:

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # where this card lies
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
inputs = tokenizer({texts}, truncation=True, max_length={max_length}, return_tensors="pt")
logits = model(**inputs).logits
{_DECIDE[kind]}
```

With bertwright, for each row of a file:

```
bertwright predict . FILE.csv -o ANSWERED.csv
```"""


def load_encoder(name: str) -> str:
    """Return how an encoder's folder is loaded; ``name`` is the ordinary class that has proved it."""
    return f"""\
Without bertwright (`{name}` has loaded it and gave the same numbers before it was finished):

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

folder = "."  # where this card lies
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForMaskedLM.from_pretrained(folder)
print(model(**tokenizer("a text", return_tensors="pt")).logits.shape)
```

With bertwright, in a recipe:

```yaml
encoder: {{folder: THIS_FOLDER}}
```"""


def load_pack(text: Sequence[str]) -> str:
    """Return how a pack is used; ``text`` are its columns, or patterns of columns."""
    columns = one_line(", ".join(columns_of(text)))
    return f"""\
With bertwright, for each row of a file with the columns {columns}:

```
bertwright predict THIS.pack FILE.csv -o ANSWERED.csv --encoder ENCODER_FOLDER
```

For other libraries it is written once as an ordinary folder, which `transformers` loads:

```
bertwright pack export THIS.pack --encoder ENCODER_FOLDER -o MODEL_FOLDER
```"""
