#!/bin/sh
# Fills app/ with what App Service installs: the wheel of this repository, and a list of what it needs, as locked.
set -eu
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
uv=$root/.tools/bin/uv # of `make install`
command -v "$uv" >/dev/null || uv=$(command -v uv) || {
    echo "This needs uv, which \`make install\` brings." >&2
    exit 1
}
rm -f app/*
"$uv" build --quiet --wheel --out-dir app "$root"
"$uv" export --quiet --locked --project "$root" --format requirements-txt --no-hashes --no-annotate --no-header \
    --no-dev --no-emit-project --extra server --extra postgres >app/requirements.txt
for wheel in app/*.whl; do
    echo "./$(basename "$wheel")" >>app/requirements.txt
done
