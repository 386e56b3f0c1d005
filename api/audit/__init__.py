"""The audit log: who changed what, when and from where. Written in the transaction that makes the change."""
