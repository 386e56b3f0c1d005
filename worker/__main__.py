"""`python -m worker` starts a worker."""

import sys

from worker.app import main

sys.exit(main())
