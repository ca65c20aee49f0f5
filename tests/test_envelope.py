# SPDX-License-Identifier: LGPL-2.1-only
"""R-7.5: the vectors that the documentation has, by two programs that aren't ours.
src/pimap-outband/test-pimap-envelope.c holds the product against the same file."""
import base64
import json
import os
import struct
import subprocess

import pytest

import envelope

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
with open(TOP + "/doc/envelope-vectors.json", encoding="utf-8") as file:
    VECTORS = json.load(file)


def each(vectors=VECTORS):
    return pytest.mark.parametrize(
        "vector", vectors, ids=[v["method"] + "-" + v["direction"] for v in vectors])


def openssl(*args, text=b""):
    return subprocess.run(["openssl", *args], input=text, check=True,
                          stdout=subprocess.PIPE).stdout


def test_vectors_are_complete():
    assert {(v["method"], v["direction"]) for v in VECTORS} == {
        (m, d) for m in ("AES", "3DES") for d in "SCNHA"}


@each()
def test_vectors_by_python(vector):
    """R-7.5"""
    key, sealed = bytes.fromhex(vector["key"]), base64.b64decode(vector["envelope"])
    args = vector["key_number"], vector["direction"]
    assert envelope.unseal(key, *args, sealed) == vector["text"].encode()
    assert envelope.seal(key, args[0], vector["method"], args[1],
                         bytes.fromhex(vector["nonce"]), vector["text"].encode()) == sealed
    with pytest.raises(envelope.Refused):
        envelope.unseal(key, *args, sealed[:-1] + bytes([sealed[-1] ^ 1]))


@each()
def test_vectors_by_openssl(vector):
    """R-7.5, by the program openssl: the key, the cipher text, 3DES's HMAC. GCM's
    cipher text is that of CTR; of its tag the program can't tell."""
    aes = vector["method"] == "AES"
    derived = openssl(
        "kdf", "-keylen", "32" if aes else "56", "-kdfopt", "digest:SHA256", "-kdfopt",
        "hexkey:" + vector["key"], "-kdfopt",
        "info:pimap1 %s %s" % (vector["method"], vector["direction"]), "-binary", "HKDF")
    assert derived.hex() == vector["derived"]
    sealed, nonce = base64.b64decode(vector["envelope"]), bytes.fromhex(vector["nonce"])
    head = struct.pack(">BBI", 1, 1 if aes else 2, vector["key_number"])
    assert sealed.startswith(head + nonce)
    assert vector["additional"] == (head + vector["direction"].encode()).hex()
    rest, tag_size = sealed[6 + len(nonce):], 16 if aes else 32
    data, tag = rest[:-tag_size], rest[-tag_size:]
    if aes:
        clear = openssl("enc", "-d", "-aes-256-ctr", "-K", derived.hex(), "-iv",
                        nonce.hex() + "00000002", text=data)
    else:
        cipher_key = derived[:24].hex()
        iv = openssl("enc", "-des-ede3", "-nopad", "-K", cipher_key, text=nonce)
        clear = openssl("enc", "-d", "-des-ede3-cbc", "-K", cipher_key, "-iv", iv.hex(),
                        text=data)
        mac = openssl("mac", "-digest", "SHA256", "-macopt",
                      "hexkey:" + derived[24:].hex(), "-binary", "HMAC",
                      text=bytes.fromhex(vector["additional"]) + nonce + data)
        assert mac == tag
    assert clear == vector["text"].encode()
