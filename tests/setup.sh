# SPDX-License-Identifier: LGPL-2.1-only
# Sourced by demo and check: installs what is missing on Debian (as root), and
# builds the tree.

pimap_packages="autoconf automake libtool make gcc pkg-config dovecot-core
dovecot-dev dovecot-imapd dovecot-lmtpd python3 python3-pytest procps
util-linux xz-utils"

install_missing() {
	local package missing=""
	for package in $pimap_packages; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
			grep -q '^install ok installed' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "missing packages:$missing (as root: apt-get install$missing)" >&2
		return 1
	fi
	echo "Installing$missing"
	apt-get -qq update &&
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing
}

build() {
	(cd "$top" &&
	 { [ -x configure ] && [ configure -nt configure.ac ] || ./autogen.sh; } &&
	 { [ -e Makefile ] && [ Makefile -nt configure ] || ./configure; } &&
	 make -s) > "$top/build.log" 2>&1 || {
		tail -n 30 "$top/build.log" >&2
		echo "building failed, see build.log" >&2
		return 1
	}
}
