# SPDX-License-Identifier: LGPL-2.1-only
# shellcheck shell=bash
# Sourced by demo, check and debian-chroot, which set $top: installs what is
# missing on Debian (as root), and builds the tree.

# What the build and ./demo need
pimap_packages="autoconf automake libtool make gcc libc6-dev pkg-config
dovecot-core dovecot-dev dovecot-imapd dovecot-lmtpd
libmosquitto-dev libpq-dev libsqlite3-dev libssl-dev libxml2-dev
procps python3 python3-cryptography python3-pytest util-linux xz-utils"

# What the tests need besides
pimap_test_packages="dovecot-gssapi dovecot-ldap dovecot-managesieved dovecot-pop3d
dovecot-sqlite dovecot-submissiond
activemq default-jdk-headless
curl krb5-admin-server krb5-kdc krb5-user openssl python3-gssapi slapd
fetchmail getmail6 isync mutt ncurses-base offlineimap3
kannel kannel-extras libwbxml2-utils smstools
libmail-imapclient-perl libmail-imaptalk-perl libnet-imap-simple-perl ruby
iproute2 mandoc patch spin strace tzdata
mosquitto mosquitto-clients
postgresql
sip-tester"

# Full text search, and Lua for auth: each Debian has others
suite_packages() {
	case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
	bookworm) echo dovecot-fts-xapian dovecot-auth-lua ;;
	trixie) echo dovecot-flatcurve dovecot-auth-lua ;;
	esac
}

all_packages() {
	echo "$pimap_packages" "$pimap_test_packages" "$(suite_packages)"
}

# Of those named
missing_packages() {
	local package
	for package; do
		dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null |
			grep -q '^install ok installed' || echo "$package"
	done
}

# In a subshell: no daemon is started that the machine's owner didn't ask for
apt_install() (
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' > $policy
		chmod +x $policy
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update &&
	apt-get -qq install -y --no-install-recommends "$@" < /dev/null
)

install_missing() {
	local missing
	missing=$(missing_packages "$@")
	[ -n "$missing" ] || return 0
	# shellcheck disable=SC2086
	set -- $missing
	if [ "$(id -u)" != 0 ]; then
		echo "missing packages: as root, apt-get install $*" >&2
		return 1
	fi
	echo "Installing $*"
	apt_install "$@"
}

build() {
	# shellcheck disable=SC2154
	(cd "$top" &&
	 { { [ -x configure ] && [ configure -nt configure.ac ]; } || ./autogen.sh; } &&
	 { { [ -e Makefile ] && [ Makefile -nt configure ]; } || ./configure; } &&
	 make -s) > "$top/build.log" 2>&1 || {
		tail -n 30 "$top/build.log" >&2
		echo "building failed, see build.log" >&2
		return 1
	}
}

# The Dovecot, 2.3 or 2.4, that is installed, or that this Debian has
native_dovecot() {
	local version
	version=$(PATH=$PATH:/usr/sbin dovecot --version 2>/dev/null |
		grep -o '^[0-9]*\.[0-9]*')
	if [ -z "$version" ]; then
		case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
		bookworm) version=2.3 ;;
		trixie) version=2.4 ;;
		*) version="" ;;
		esac
	fi
	echo "$version"
}

suite_of() {
	case $1 in
	2.3) echo bookworm ;;
	2.4) echo trixie ;;
	esac
}
