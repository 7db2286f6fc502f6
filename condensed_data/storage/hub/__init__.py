"""Condensed sets on the Hugging Face Hub: publish, pull, find.

A repository of the Hub holds artifacts as `storage` writes them; `layout.py` says where. Everything that speaks to
the Hub goes through `client.py`, and every failure becomes a sentence in `errors.py`. `huggingface_hub` reads its
environment when it is imported, so it is imported when it is first used.
"""
