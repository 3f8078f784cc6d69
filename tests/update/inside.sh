#!/bin/sh
# A system of its own for one test: systemd as process 1 of new namespaces, with the node's units as they are, and the
# release /mnt/test/old.tar installed as a card does. inside.sh CGROUP FOLDER CHECKOUT …, as tests/service/inside.sh.
set -eu
cgroup=$1 folder=$2 checkout=$3
for own in /sys/fs/cgroup/*/"$cgroup" /sys/fs/cgroup/"$cgroup"; do
    [ ! -d "$own" ] || mount --bind "$own" "${own%/*}"
done
mount -t tmpfs tmpfs /mnt
mkdir /mnt/test /mnt/etc /mnt/work /mnt/opt
mount --bind "$folder" /mnt/test
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work /etc
cp "$checkout/edge/update/guard.py" /mnt/guard.py
cp -r "$checkout/deploy/systemd/etc/." /etc/
mount --bind /mnt/opt /opt
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/cache
mkdir -p /etc/banksman /etc/units /var/lib/banksman/update
cp /mnt/test/release.pub /etc/banksman/
touch /etc/banksman/site.yaml
systemd-sysusers banksman.conf
chown -R banksman:banksman /var/lib/banksman
/usr/bin/python3 -I /mnt/guard.py install /mnt/test/old.tar /etc/banksman/release.pub /opt/banksman
cp /mnt/guard.py /opt/banksman/guard.py
for unit in node.service update.service update.path; do cp "/etc/systemd/system/banksman-$unit" /etc/units/; done
for target in sysinit basic local-fs multi-user shutdown paths; do
    printf '[Unit]\nDefaultDependencies=no\n' >"/etc/units/$target.target"
done
for unit in node update; do
    mkdir "/etc/units/banksman-$unit.service.d"
    printf '[Service]\nStandardOutput=append:/mnt/test/%s.log\nStandardError=append:/mnt/test/%s.log\n' $unit $unit \
        >"/etc/units/banksman-$unit.service.d/test.conf"
done
printf '[Unit]\nDefaultDependencies=no\nWants=banksman-node.service banksman-update.path\n' >/etc/units/all.target
export container=test SYSTEMD_UNIT_PATH=/etc/units
exec /lib/systemd/systemd --system --unit=all.target --log-target=null --show-status=no --dump-core=no --crash-shell=no
