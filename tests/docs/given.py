"""What there is before a page begins: in the words of the pages, and followed as they are."""

from __future__ import annotations

TOKEN = "an-admin-token-of-32-characters-"

SERVICE = f"""
<!-- stays open: the page is about a pool -->
```console
$ PICLUSTER_ADMIN_TOKEN={TOKEN} RPI_APIKEY=the-key-that-boards-have picluster serve
picluster serves http://localhost:1337
…
```
"""

ADMIN = f"""
```console
$ export PICLUSTER_URL=http://localhost:1337 PICLUSTER_TOKEN={TOKEN}
```
"""

BOARD = """
```console
$ beat() { curl -s http://localhost:1337/api/update -H 'Content-Type: application/json' -d "$1"; }
$ beat '{"ApiKey": "the-key-that-boards-have", "IpAddress": "10.0.0.7", "HostName": "pi5-a", "Platform": "BCM2712"}'
…
$ picluster label pi5-a rack=b
```
"""

ANN = """
```console
$ echo 'correct horse battery' > password.txt
$ picluster people add ann --role operator --password-stdin < password.txt
```
"""

ANN_LOGS_IN = """
```console
$ echo 'correct horse battery' > password.txt
$ picluster people add ann --role user --password-stdin < password.txt
$ unset PICLUSTER_URL PICLUSTER_TOKEN
$ picluster login http://lab:1337 --user ann < password.txt
```
"""

SWITCH = """
<!-- after Ctrl-C: the page starts the service with what switches -->
```console
$ sed -n '/^```toml/,/^```/ { /^```/d; s#/usr/local/bin/pdu#true#; p }' $DOCS/power.md > picluster.toml
```
"""

GIVEN = {
    "agent.md": SERVICE + ADMIN,
    "backup.md": SERVICE + ADMIN,
    "health.md": SERVICE + ADMIN + BOARD,
    "join.md": SERVICE + ADMIN,
    "move-in.md": SERVICE + ADMIN + BOARD,
    "operate.md": "",
    "people.md": SERVICE + ADMIN + ANN,
    "power.md": SERVICE + ADMIN + BOARD + SWITCH,
    "tls.md": "",
    "tutorial.md": "",
    "use.md": SERVICE + ADMIN + BOARD + ANN_LOGS_IN,
    "webhooks.md": SERVICE + ADMIN,
}
"""By page; every page that has something to type here is in it."""

ON_BOARDS = {
    "reach.md": """
```console
$ mkdir build && echo built > build/tool && echo true > test.sh
$ picluster show pi-b | awk '/^address/ { print $2 }' > boards.txt
```
""",
    "run.md": """
```console
$ picluster label pi-b camera
$ mkdir build && printf 'mkdir results && echo 42 > results/answer' > build/run_tests.sh && chmod +x build/run_tests.sh
```
""",
}
"""The same of pages that need boards with SSH, which the lab has: pi-a, pi-b and pi-c."""
