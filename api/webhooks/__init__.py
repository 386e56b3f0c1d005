"""Webhooks: changes of state told to a URL, signed, from an outbox in the database."""
