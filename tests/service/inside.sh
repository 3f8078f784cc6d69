#!/bin/sh
# A system of its own for one test: systemd as process 1 of new namespaces, with the node's real unit and what it starts.
# inside.sh CGROUP FOLDER CHECKOUT PYTHON_PREFIX SITE_PACKAGES; FOLDER is seen inside as /mnt/test, and of the hierarchies
# of cgroups only what lies below CGROUP.
set -eu
cgroup=$1 folder=$2 checkout=$3 prefix=$4 packages=$5
for own in /sys/fs/cgroup/*/"$cgroup" /sys/fs/cgroup/"$cgroup"; do
    [ ! -d "$own" ] || mount --bind "$own" "${own%/*}"
done
mount -t tmpfs tmpfs /mnt
mkdir /mnt/test /mnt/etc /mnt/work
mount --bind "$folder" /mnt/test
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work /etc
mkdir /mnt/opt /mnt/opt/checkout /mnt/opt/python /mnt/opt/packages
mount --bind "$checkout" /mnt/opt/checkout
mount --bind "$prefix" /mnt/opt/python
mount --bind "$packages" /mnt/opt/packages
mount --rbind /mnt/opt /opt
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/cache
mkdir -p /opt/banksman/releases/1/bin /etc/banksman /etc/units
ln -s releases/1 /opt/banksman/current
cp /opt/checkout/edge/update/guard.py /opt/banksman/
cp -r /opt/checkout/deploy/systemd/etc/. /etc/
cat >/opt/banksman/current/bin/banksman <<'PROGRAM'
#!/bin/sh
cd /opt/checkout
export PYTHONHOME=/opt/python PYTHONPATH=/opt/checkout:/opt/packages LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python3 -m tests.service.driver /mnt/test "$@"
PROGRAM
chmod 755 /opt/banksman/current/bin/banksman
cp "$folder/site.yaml" /etc/banksman/
echo key >/etc/banksman/release.pub
systemd-sysusers banksman.conf
# Of the whole system only this unit; what it stands behind is there already.
cp /etc/systemd/system/banksman-node.service /etc/units/
for target in sysinit basic local-fs multi-user shutdown; do printf '[Unit]\nDefaultDependencies=no\n' >"/etc/units/$target.target"; done
mkdir /etc/units/banksman-node.service.d
cat >/etc/units/banksman-node.service.d/test.conf <<'CONF'
[Service]
WatchdogSec=4
StandardOutput=append:/mnt/test/log
StandardError=append:/mnt/test/log
CONF
export container=test SYSTEMD_UNIT_PATH=/etc/units
exec /lib/systemd/systemd --system --unit=banksman-node.service --log-target=null --show-status=no --dump-core=no --crash-shell=no
