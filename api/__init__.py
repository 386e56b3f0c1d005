"""The HTTP service: validates, stores, answers, reaps and sweeps. Stateless; never imports torch."""
