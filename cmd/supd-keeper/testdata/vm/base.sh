#!/bin/sh
# base.sh DIR: makes DIR/base.cpio.zst and DIR/vmlinuz, a Debian 12 for the virtual machine test. As root; the mirror is the one
# that apt uses here.
set -eu
dir=$1
mkdir -p "$dir"
work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root

site=$(apt-get indextargets --format '$(SITE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
	awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
[ -n "$site" ] || { echo "base.sh: apt has no source of bookworm main here" >&2; exit 1; }
debootstrap --variant=minbase --include=systemd,systemd-sysv,kmod,procps,iproute2,linux-image-amd64 bookworm "$root" "$site"

kernel=$(basename "$root"/boot/vmlinuz-*)
kernel=${kernel#vmlinuz-}
modules=$root/usr/lib/modules/$kernel
for m in $(chroot "$root" modprobe -S "$kernel" -a --show-depends virtio_pci virtio_blk ext4 crc32c_generic |
	awk '$1 == "insmod" { print $2 }' | sort -u); do
	mkdir -p "$work/keep/usr$(dirname "$m")"
	cp "$root/usr$m" "$work/keep/usr$m"
done
cp "$modules"/modules.builtin "$modules"/modules.builtin.modinfo "$modules"/modules.order "$work/keep/usr/lib/modules/$kernel/"
rm -rf "$modules"
cp -a "$work/keep/." "$root/"
chroot "$root" depmod "$kernel"
cp "$root/boot/vmlinuz-$kernel" "$dir/vmlinuz.new"
rm -rf "$root"/boot "$root"/var/cache/apt "$root"/var/lib/apt "$root"/var/lib/dpkg "$root"/var/log \
	"$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/info "$root"/usr/share/locale "$root"/usr/share/zoneinfo \
	"$root"/usr/share/i18n "$root"/usr/lib/x86_64-linux-gnu/gconv "$root"/usr/share/initramfs-tools \
	"$root"/usr/bin/perl* "$root"/usr/lib/x86_64-linux-gnu/perl-base "$root"/usr/share/bash-completion \
	"$root"/usr/lib/x86_64-linux-gnu/libapt* "$root"/usr/lib/udev "$root"/usr/bin/apt*
mkdir -p "$root/var/log" "$root/boot"
ln -s sbin/init "$root/init"
(cd "$root" && find . -xdev -print0 | cpio --quiet -0 -o -H newc) | zstd -q -1 -T0 -o "$dir/base.cpio.zst.new" -f
mv "$dir/vmlinuz.new" "$dir/vmlinuz"
mv "$dir/base.cpio.zst.new" "$dir/base.cpio.zst"
