#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-only
set -e
cd "$(dirname "$0")"
exec autoreconf -fi
