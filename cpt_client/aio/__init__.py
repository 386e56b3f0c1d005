"""The asynchronous client. It is written by hand; `tools/sync_client.py` makes `cpt_client.sync` from it."""
