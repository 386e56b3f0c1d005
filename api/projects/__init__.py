"""Projects: what keys, jobs and everything else of clients belong to, and what each may use."""
