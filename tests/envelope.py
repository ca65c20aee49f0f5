# SPDX-License-Identifier: LGPL-2.1-only
"""The envelope of R-7.5 by Python's cryptography: it shares nothing with the
product's. Run as a program, it prints the vectors of doc/envelope-vectors.json."""
import base64
import hashlib
import hmac
import json
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

METHODS = {"AES": 1, "3DES": 2}
NAMES = {number: name for name, number in METHODS.items()}
NONCE = {"AES": 12, "3DES": 8}


class Refused(Exception):
    pass


def derive(key, method, direction):
    info = b"pimap1 %s %s" % (method.encode(), direction.encode())
    return HKDF(hashes.SHA256(), 32 if method == "AES" else 56, None, info).derive(key)


def head_of(method, number):
    return struct.pack(">BBI", 1, METHODS[method], number)


def des_iv(key, nonce):
    ecb = Cipher(TripleDES(key), modes.ECB()).encryptor()
    return ecb.update(nonce) + ecb.finalize()


def des_tag(key, aad, nonce, data):
    return hmac.new(key, aad + nonce + data, hashlib.sha256).digest()


def seal(key, number, method, direction, nonce, text):
    head, derived = head_of(method, number), derive(key, method, direction)
    aad = head + direction.encode()
    if method == "AES":
        return head + nonce + AESGCM(derived).encrypt(nonce, text, aad)
    padder = padding.PKCS7(64).padder()
    cbc = Cipher(TripleDES(derived[:24]),
                 modes.CBC(des_iv(derived[:24], nonce))).encryptor()
    data = cbc.update(padder.update(text) + padder.finalize()) + cbc.finalize()
    return head + nonce + data + des_tag(derived[24:], aad, nonce, data)


def split(envelope):
    """Returns method, number of the key, nonce, and what follows it."""
    if len(envelope) < 6 or envelope[0] != 1 or envelope[1] not in NAMES:
        raise Refused("no envelope")
    method = NAMES[envelope[1]]
    end = 6 + NONCE[method]
    if len(envelope) < end + 16:
        raise Refused("too short")
    return method, struct.unpack(">I", envelope[2:6])[0], envelope[6:end], envelope[end:]


def unseal(key, number, direction, envelope):
    method, key_number, nonce, rest = split(envelope)
    if key_number != number:
        raise Refused("another key")
    derived, aad = derive(key, method, direction), envelope[:6] + direction.encode()
    if method == "AES":
        try:
            return AESGCM(derived).decrypt(nonce, rest, aad)
        except InvalidTag:
            raise Refused("not authentic") from None
    data, tag = rest[:-32], rest[-32:]
    if len(data) % 8 or not hmac.compare_digest(
            tag, des_tag(derived[24:], aad, nonce, data)):
        raise Refused("not authentic")
    cbc = Cipher(TripleDES(derived[:24]),
                 modes.CBC(des_iv(derived[:24], nonce))).decryptor()
    unpadder = padding.PKCS7(64).unpadder()
    return unpadder.update(cbc.update(data) + cbc.finalize()) + unpadder.finalize()


def counter_nonce(method, counter):
    """Of the directions C and H"""
    return os.urandom(NONCE[method] - 8) + struct.pack(">Q", counter)


def vectors():
    texts = {
        "S": "* 12 FETCH (FLAGS (\\Seen) UID 4827313)",
        "C": "SELECT INBOX",
        "N": '7 joe@foo.com NEW_MESSAGE 42 "Ren\u00e9 <rene@foo.com>" '
             '"20-Feb-2004" "06:40:00" "Hello"',
        "H": "P6505551234 1077259200 ACK=5,6,7",
        "A": "192.0.2.1 4711",
    }
    for number, (method, direction) in enumerate(
            (m, d) for m in METHODS for d in texts):
        key = hashlib.sha256(b"key %d" % number).digest()
        nonce = hashlib.sha256(b"nonce %d" % number).digest()[:NONCE[method]]
        if direction in "CH":
            nonce = nonce[:-8] + struct.pack(">Q", 1 << (7 * number))
        # one without any text, and one of whole blocks
        text = {(("3DES"), "S"): "", ("3DES", "C"): "16 octets of it."}.get(
            (method, direction), texts[direction]).encode()
        key_number = [1, 2, 0x01020304, 0xffffffff][number % 4]
        yield {
            "method": method, "direction": direction, "key": key.hex(),
            "key_number": key_number, "nonce": nonce.hex(), "text": text.decode(),
            "derived": derive(key, method, direction).hex(),
            "additional": (head_of(method, key_number) + direction.encode()).hex(),
            "envelope": base64.b64encode(seal(key, key_number, method, direction,
                                              nonce, text)).decode(),
        }


if __name__ == "__main__":
    print("[\n" + ",\n".join(json.dumps(v) for v in vectors()) + "\n]")
