#!/usr/bin/env bash
# One minute with Taffrail: appends on the version of an entity, a conflict, kill -9, and a group that goes on where it
# was. It makes a broker of its own in an empty folder and removes it at the end. The README shows what it prints.
set -euo pipefail

folder=$(mktemp -d)
cd "$folder"
export TAFFRAIL_SERVER=unix:data NO_COLOR=1

serve() {
    taffrail serve --data-dir data --listen 127.0.0.1:0 --http-listen off > started 2> log &
    broker=$!
    until [ -s started ] || ! kill -0 "$broker"; do sleep 0.01; done
    : > started
}

stop() {
    kill -9 "$broker"
    wait "$broker" 2> /dev/null || true
}
trap 'stop; rm -rf "$folder"' EXIT

# Shows a command as one would type it, and what it says.
show() {
    printf '$ %s\n' "$1"
    bash -c "$1" 2>&1 || true
}

printf '$ taffrail serve --data-dir data &\n'
serve
show 'taffrail topic create accounts'
show 'echo "opened with 100" | taffrail produce accounts --key alice'
show 'echo "took 70" | taffrail produce accounts --key alice --expect-version 1'
show 'echo "took 80" | taffrail produce accounts --key alice --expect-version 1'
show 'taffrail consume accounts --group mailer'
printf '$ kill -9 %%1; taffrail serve --data-dir data &\n'
stop
serve
show 'echo "paid in 50" | taffrail produce accounts --key alice --expect-version 2'
show 'taffrail consume accounts --group mailer'
show 'taffrail entity read accounts alice'
