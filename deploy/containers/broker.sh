#!/bin/sh
# Runs Mosquitto, and has it read its certificates and revocation list again when they change: whoever revokes a node is
# in another container and cannot tell it. usage: broker.sh FOLDER
set -eu
folder=$1
mosquitto -c "$folder/mosquitto.conf" &
broker=$!
trap 'kill "$broker" 2>/dev/null || true' TERM INT
stamp() { cksum "$folder/crl.pem" "$folder/ca.pem" "$folder/server.pem" "$folder/acl" 2>/dev/null || true; }
read=$(stamp)
while kill -0 "$broker" 2>/dev/null; do
    sleep 2 &
    wait "$!" || true  # a signal ends this, not the sleep
    now=$(stamp)
    if [ "$now" != "$read" ]; then
        read=$now
        kill -HUP "$broker" 2>/dev/null || true
    fi
done
wait "$broker"
