"""Names of the files of a condensed dataset."""

README = "README.md"
MANIFEST = "condensed.json"
TENSORS = "condensed.safetensors"
PREVIEW = "data/train-00000-of-00001.parquet"
