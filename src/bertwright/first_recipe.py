"""The recipe that ``bertwright init`` writes."""

FIRST_RECIPE = """\
# From a folder of text to an encoder and a classifier. Check it: bertwright check recipe.yaml
# Every choice stands in docs/recipe.md. A section that is left out is off.

seed: 0

prepare:
  sources:
    - path: texts/                # a file, a folder, or a pattern such as texts/*.txt.gz
    # - path: notes.csv           # csv, tsv, jsonl and parquet need the column with the text
    #   column: note
  row_length: 128                 # tokens a row

tokenizer:
  vocabulary: 16000               # less for a small corpus

encoder:
  family: bert                    # bert, bert-preln, modern, roberta, distilbert
  size: mini                      # tiny, mini, small, medium, base, large
  # folder: my-model/             # or continue from an ordinary model folder, and leave out family and size

pretrain:
  budget: 20 min                  # or steps, epochs, tokens
  batch: 32                       # in a short budget many small updates learn more than few large ones
  optimizer: muon                 # for a fresh encoder; to continue one: adamw, with a learning rate of 2.0e-4
  learning_rate: 2.0e-3

finetune:
  epochs: 3
  seeds: 3                        # runs of each task, for an honest mean
  baseline: true                  # also fine-tune the untrained encoder, to see what pretraining gave

tasks:                            # known ones: bertwright tasks; what is in your file: bertwright tasks --guess FILE
  - name: triage
    train: triage/train.csv
    sets:
      dev: triage/dev.csv
    text: text                    # one column, or [first, second] for pairs
    label: label
"""
