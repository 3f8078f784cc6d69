"""`python -m broker.dispatch.migrations "what changes"` writes the next migration, to be looked over by its author."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from broker.dispatch.database import migrate, open_engine

if __name__ == "__main__":
    config = Config()
    config.set_main_option("script_location", "broker.dispatch:migrations")
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'now.db'}")
        migrate(engine)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            count = len(list(ScriptDirectory.from_config(config).walk_revisions()))
            command.revision(config, sys.argv[1], autogenerate=True, rev_id=f"v{count + 1:04}")
