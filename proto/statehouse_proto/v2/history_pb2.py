"""Messages of ``v2/history.proto``; the names are in the stub beside this file."""

from statehouse_proto._loader import export

export(globals(), "statehouse_proto/v2/history.proto")
