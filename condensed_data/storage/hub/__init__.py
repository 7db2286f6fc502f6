"""Publishes, downloads and finds condensed datasets on the Hugging Face Hub.

A Hub repository contains artifacts as `storage.artifact` writes them, at the paths given in `layout.py`. All requests
go through the client of `client.py`, and every failure becomes an error of `core.hub_errors`. `huggingface_hub`
reads environment variables when it is imported, so it is imported on first use.
"""
