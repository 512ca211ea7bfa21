"""`python -m picluster.agent`"""

import sys

from picluster.agent.cli import main

sys.exit(main())
