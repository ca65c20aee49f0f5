# SPDX-License-Identifier: LGPL-2.1-only
"""A push service and a device of Web Push, made with another library than ours
(Python's cryptography): RFC 8188, 8291, 8292."""
import base64
import datetime
import http.server
import ipaddress
import json
import os
import socket
import ssl
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def encode(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public(key):
    return key.public_key().public_bytes(serialization.Encoding.X962,
                                         serialization.PublicFormat.UncompressedPoint)


def point(data):
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)


def hkdf(salt, secret, info, size):
    return HKDF(hashes.SHA256(), size, salt, info).derive(secret)


class Device:
    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)

    def address(self, endpoint):
        return "%s %s %s" % (endpoint, encode(public(self.key)), encode(self.auth))

    def decrypt(self, body):
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, record = body[21:21 + length], body[21 + length:]
        assert length == 65 and 18 <= len(record) <= size and len(body) <= 4096
        secret = self.key.exchange(ec.ECDH(), point(sender))
        info = b"WebPush: info\0" + public(self.key) + sender
        ikm = hkdf(self.auth, secret, info, 32)
        key = hkdf(salt, ikm, b"Content-Encoding: aes128gcm\0", 16)
        nonce = hkdf(salt, ikm, b"Content-Encoding: nonce\0", 12)
        text = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\0")
        assert text[-1] == 2
        return text[:-1].decode()


def check_vapid(header, origin):
    """Returns the claims and the public key."""
    scheme, _, params = header.partition(" ")
    assert scheme == "vapid"
    params = dict(param.strip().split("=", 1) for param in params.split(","))
    assert set(params) == {"t", "k"}
    signed, _, signature = params["t"].rpartition(".")
    raw = decode(signature)
    assert len(raw) == 64
    point(decode(params["k"])).verify(
        utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")),
        signed.encode(), ec.ECDSA(hashes.SHA256()))
    head, claims = [json.loads(decode(part)) for part in signed.split(".")]
    assert head == {"typ": "JWT", "alg": "ES256"}
    assert set(claims) == {"aud", "exp", "sub"} and claims["aud"] == origin
    # RFC 8292: within a day, by clocks that differ by ten minutes too
    assert 600 < claims["exp"] - time.time() <= 12 * 3600 + 5
    return claims, params["k"]


def certificate(path, names, issuer=None, days=2):
    """Makes path.pem, the certificate and its key, which is valid so long, or has been. Returns
    the issuer of others."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, os.path.basename(path))])
    now = datetime.datetime.utcnow()
    builder = x509.CertificateBuilder().subject_name(name).public_key(key.public_key()) \
        .issuer_name(issuer[0] if issuer else name).serial_number(x509.random_serial_number()) \
        .not_valid_before(now - datetime.timedelta(days=3)) \
        .not_valid_after(now + datetime.timedelta(days=days)) \
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    if names:
        alt = [x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() or ":" in name
               else x509.DNSName(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(alt), critical=False)
    cert = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    with open(path + ".pem", "wb") as file:
        file.write(cert.public_bytes(serialization.Encoding.PEM))
        if issuer:
            file.write(key.private_bytes(serialization.Encoding.PEM,
                                         serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()))
    return name, key


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


class PushService:
    """answer(n) gives what the n-th request (from 0) is answered: a status and fields,
    or octets to send in its place, or None to say nothing."""

    def __init__(self, pem, address="127.0.0.1", port=0):
        self.requests = []
        self.connections = 0
        # at which of ours
        self.addresses = []
        self.answer = lambda n: (201, {})
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    number = len(outer.requests)
                    outer.requests.append((self.path, self.headers, body))
                answer = outer.answer(number)
                if answer is None:
                    time.sleep(100)
                if isinstance(answer, bytes):
                    self.wfile.write(answer)
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                for field in answer[1].items():
                    self.send_header(*field)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)

        class Secure(Server):
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

            def get_request(self):
                sock, peer = super().get_request()
                outer.connections += 1
                outer.addresses.append(sock.getsockname()[0])
                sock.settimeout(20)
                return context.wrap_socket(sock, server_side=True,
                                           do_handshake_on_connect=False), peer

        self.server = Secure((address, port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
