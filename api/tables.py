"""All tables, for whoever needs the whole schema: importing this makes `Base.metadata` complete."""

from __future__ import annotations

import api.artifacts.models
import api.audit.models
import api.checkpoints.models
import api.datasets.models
import api.files.models
import api.fleet.models
import api.jobs.models
import api.keys.models
import api.logs.models
import api.metrics.models
import api.projects.models
import api.sweeps.models
import api.webhooks.models  # noqa: F401
