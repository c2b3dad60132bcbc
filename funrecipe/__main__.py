import sys

from funrecipe.cli import main

sys.exit(main())
