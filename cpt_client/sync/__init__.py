"""The synchronous client, made from `cpt_client.aio` by `tools/sync_client.py`: change it there."""
