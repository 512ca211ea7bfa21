"""What is said to a machine's shell: POSIX as dash and bash have it, with nothing but `tar`, `mktemp` and `setsid`.

Each text is handed to `sh` by whatever shell the account has, and hears by the end of its input that it is not wanted
any more: because we said so, or because there is no connection any more that could say anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

END_S = 5
"""What is ended kindly has so long to clean up: a test runner writes its report in that time."""

MISSING = "missing: "
"""So begins the line for a pattern that means nothing."""

_GLOB = re.compile(r"([*?]|\[[^]/]+\])")

_ENDED_WITH_US = """\
exec 3<&0 </dev/null
{prepared}
setsid sh -c {command} 3<&- &
job=$!
end() {{
    kill -TERM -$job && left={tenths} || left=0
    while [ $left -gt 0 ] && kill -0 -$job; do
        sleep 0.1 || sleep 1
        left=$((left - 1))
    done
    kill -KILL -$job
}} 2>/dev/null
(
    read -r _ <&3
    kill -0 -$job || sleep 0.2
    end
) >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait $job
status=$?
kill $watch 2>/dev/null
end
exit $status"""
"""The group of processes is the command's own, so all of it can be signalled at once. What it left running is ended,
too; a group that is not there yet has just been asked for."""

_HOLDING = """\
folder=$(mktemp -d "$HOME/picluster-XXXXXX" 2>/dev/null || mktemp -d "${TMPDIR:-/tmp}/picluster-XXXXXX") || exit 1
trap '' HUP TERM PIPE
printf '%s\\n' "$folder"
read -r told
[ "$told" = keep ] && exit
rm -rf "$folder" 2>/dev/null && exit
sleep 1
chmod -R u+rwX "$folder"
rm -rf "$folder" && exit
sleep 6
rm -rf "$folder\""""
"""Something of a command that is just being ended may still write into it; and it may have folders without `w`."""

_UNPACKING = """\
mkdir -p {dest} && cd {dest} && LC_ALL=C exec tar -xpof -"""
"""With their modes, whatever the umask, and owned by whoever has logged in."""

_GATHERING = """\
cd {folder} || exit 1
for one in {patterns}; do
    if [ -e "$one" ] || [ -L "$one" ]; then
        set -- "$@" "$one"
    else
        printf '{missing}%s\\n' "$one" >&2
    fi
done
[ $# = 0 ] || LC_ALL=C exec tar -cf - -- "$@\""""


def ended_with_us(command: str, environment: Mapping[str, str], folder: str) -> str:
    """Run a shell's line; it and all that it began end with its head, or with our voice."""
    prepared = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    prepared += [f"cd {shlex.quote(folder)} || exit"] * bool(folder)
    return _sh(
        _ENDED_WITH_US.format(prepared="\n".join(prepared), command=shlex.quote(command), tenths=END_S * 10)
    )


def holding() -> str:
    """Make a folder, say where it is, and take it away at the end, unless told to `keep` it."""
    return _sh(_HOLDING)


def unpacking(dest: str) -> str:
    """A tar stream into a folder, which is made."""
    return _sh(_UNPACKING.format(dest=shlex.quote(dest)))


def gathering(patterns: Sequence[str], folder: str) -> str:
    """A tar stream of what patterns name, and a line on stderr for each that names nothing."""
    words = " ".join(map(_pattern, patterns))
    return _sh(_GATHERING.format(folder=shlex.quote(folder or "."), patterns=words, missing=MISSING))


def line(words: Sequence[str]) -> str:
    """One word is a line for a shell; several are a command and what it is given, as they are."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _pattern(pattern: str) -> str:
    """For the shell to expand, and for nothing else: blanks, `$` and `;` are letters."""
    return "".join(
        part if number % 2 else shlex.quote(part) if part else ""
        for number, part in enumerate(_GLOB.split(pattern))
    )


def _sh(script: str) -> str:
    return f"exec sh -c {shlex.quote(script)}"
