"""A process that serves the application on fakes: `python -m tests.support.scripted_server PORT`.

Each answer is as many words as the second argument says, with the third argument's seconds before
each word, and then `the end`. A test can kill the process as an operator could.
"""

from __future__ import annotations

import sys

from server.app import create_app
from server.http.server import HttpServer, http_config
from server.http.sockets import bind_all
from tests.support.fake_server import ScriptedGenerator, make_server


def main() -> None:
    port, words, delay = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    pieces = [f"word{number} " for number in range(words)]
    server = make_server(generator=ScriptedGenerator([*pieces, "the end"], delay=delay))
    app = create_app(server.context)
    http = HttpServer(http_config(app, server.context.settings), on_stop=lambda: None)
    http.run(bind_all(["127.0.0.1"], port))


if __name__ == "__main__":
    main()
