#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes the emulated machine's first disk: base.sh FOLDER MIRROR. Debian forky with Slurm 26.05, MariaDB and
# systemd as their packages install them, and a virtual environment with the libraries of the accounting host.
#
# FOLDER then has base.img, vmlinuz, initrd.img. Nothing of this project is in it: a run brings that on a disk of its own.
# FOLDER/requirements.txt names the libraries; $PIP is the pip that downloads them for the machine's Python.
set -eu
folder=$1
mirror=$2
tree=$folder/tree
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

leave() {
    umount "$tree/proc" 2>/dev/null || true
}
trap leave EXIT
leave
rm -rf "$tree"

# debootstrap of bookworm does not know forky by name; every suite is made by sid's script.
debootstrap --variant=minbase --include=ca-certificates forky "$tree" "$mirror" /usr/share/debootstrap/scripts/sid

mount -t proc proc "$tree/proc"
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
# Only what finds the disk: emulated, an initial RAM disk with every driver takes ten seconds to unpack.
mkdir -p "$tree/etc/initramfs-tools/conf.d"
echo 'MODULES=list' >"$tree/etc/initramfs-tools/conf.d/list"
printf 'virtio_pci\nvirtio_blk\next4\n' >"$tree/etc/initramfs-tools/modules"
# Manuals and translations would be a third of the image.
printf 'path-exclude=/usr/share/%s\n' 'doc/*' 'man/*' 'locale/*' >"$tree/etc/dpkg/dpkg.cfg.d/small"
cp /etc/resolv.conf "$tree/etc/resolv.conf"
# A mirror may lag, and this machine's clock may be wrong; the signature is checked all the same.
echo 'Acquire::Check-Valid-Until "false";' >"$tree/etc/apt/apt.conf.d/lagging-mirror"
chroot "$tree" apt-get update -q
chroot "$tree" apt-get install -q -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io \
    systemd-sysv dbus udev kmod iproute2 util-linux linux-image-amd64 initramfs-tools zstd \
    munge mariadb-server slurmctld slurmd slurmdbd slurm-client python3 python3-venv
chroot "$tree" apt-get clean

version=$(chroot "$tree" python3 -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
mkdir -p "$tree/opt/wheels"
$PIP download -q --only-binary=:all: --implementation cp --python-version "$version" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$tree/opt/wheels" -r "$folder/requirements.txt"
cp "$folder/requirements.txt" "$tree/opt/wheels/"
chroot "$tree" python3 -m venv /opt/carbon-acct
chroot "$tree" /opt/carbon-acct/bin/pip install -q --no-index --find-links /opt/wheels -r /opt/wheels/requirements.txt

echo n1 >"$tree/etc/hostname"
printf '127.0.0.1 localhost\n10.99.0.1 n1 n2\n' >"$tree/etc/hosts"
printf '/dev/vda / ext4 defaults 0 0\n/dev/vdb /exchange ext4 defaults 0 0\n' >"$tree/etc/fstab"
mkdir "$tree/exchange"
# What a run does stands on its own disk, the second one.
cat >"$tree/etc/systemd/system/exchange.service" <<'END'
[Unit]
Description=What the second disk wants done
RequiresMountsFor=/exchange
After=multi-user.target
[Service]
ExecStart=/exchange/start
StandardOutput=journal+console
StandardError=journal+console
[Install]
WantedBy=graphical.target
END
chroot "$tree" systemctl enable -q exchange.service
# Without a configuration slurmd asks the DNS for one for two minutes.
chroot "$tree" systemctl disable -q slurmd slurmctld slurmdbd
chroot "$tree" systemctl set-default -q graphical.target
chroot "$tree" passwd -d root >/dev/null
rm -rf "$tree/usr/sbin/policy-rc.d" "$tree/opt/wheels" "$tree/var/lib/apt/lists" "$tree/var/log/journal"
: >"$tree/etc/resolv.conf"
umount "$tree/proc"
# Or the first boot takes it for an updated system, and rebuilds every cache (ConditionNeedsUpdate=).
touch "$tree/etc/.updated" "$tree/var/.updated"

cp "$tree"/boot/vmlinuz-* "$folder/vmlinuz"
cp "$tree"/boot/initrd.img-* "$folder/initrd.img"
rm -f "$folder/base.img"
mke2fs -q -t ext4 -L base -d "$tree" "$folder/base.img" 6G
rm -rf "$tree"
