# SPDX-License-Identifier: LGPL-2.1-only
"""How many notifications a second go through each channel to a peer that does nothing
but take them, and what that takes of a processor."""

import contextlib
import multiprocessing
import os
import socket
import time
import types

import counting
import delivery
import peers
import rig
from peers import outband_peers
from sending import figure

USERS = 200
EACH = 20
SPEED_LIMIT = 500
SIP_LIMIT = 200
MM7_RESPONSE = (
    b'<?xml version="1.0"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/">'
    b'<e:Body><SubmitRsp xmlns="http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/'
    b'REL-6-MM7-1-4"><MM7Version>6.8.0</MM7Version><Status><StatusCode>1000</StatusCode>'
    b'<StatusText>Success</StatusText></Status><MessageID>1</MessageID></SubmitRsp></e:Body>'
    b'</e:Envelope>')


def take_http(data, body=b"0: Accepted for delivery"):
    """What is left of the data, answers, and how many notifications were in it"""
    replies, count = b"", 0
    while True:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            break
        length = next(int(line[15:]) for line in head.split(b"\r\n")
                      if line.lower().startswith(b"content-length:"))
        if len(rest) < length:
            break
        data = rest[length:]
        replies += b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        count += 1
    return data, replies, count


def take_mm7(data):
    return take_http(data, MM7_RESPONSE)


def take_stomp(data):
    replies, count = b"", 0
    while True:
        frame, found, rest = data.partition(b"\0")
        if not found:
            break
        data = rest
        lines = frame.lstrip(b"\r\n").replace(b"\r\n", b"\n").split(b"\n\n")[0].split(b"\n")
        if lines[0] in (b"CONNECT", b"STOMP"):
            replies += b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0"
        elif lines[0] == b"SEND":
            receipt = next(line[8:] for line in lines if line.startswith(b"receipt:"))
            replies += b"RECEIPT\nreceipt-id:%s\n\n\0" % receipt
            count += 1
    return data, replies, count


def take_mqtt(data):
    replies, count = b"", 0
    while len(data) >= 2:
        length, shift, at = 0, 0, 1
        while at < len(data):
            length |= (data[at] & 0x7f) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                break
        if len(data) < at + length:
            break
        kind, body, data = data[0] >> 4, data[at:at + length], data[at + length:]
        if kind == 1:
            replies += b"\x20\x03\0\0\0"
        elif kind == 3:
            topic = int.from_bytes(body[:2], "big")
            replies += b"\x40\x02" + body[2 + topic:4 + topic]
            count += 1
        elif kind == 12:
            replies += b"\xd0\0"
    return data, replies, count


def serve_sip(sock, _, count):
    """By UDP: each request once"""
    seen = set()
    while True:
        data, address = sock.recvfrom(65536)
        lines = data.split(b"\r\n\r\n")[0].split(b"\r\n")
        if not lines[0].startswith(b"MESSAGE"):
            continue
        names = {line.split(b":")[0].strip().lower(): line for line in lines[1:]}
        kept = [names[name] for name in (b"via", b"from", b"to", b"call-id", b"cseq")]
        sock.sendto(b"\r\n".join([b"SIP/2.0 200 OK"] + kept +
                                 [b"Content-Length: 0", b"", b""]), address)
        if names[b"via"] not in seen:
            seen.add(names[b"via"])
            count.value += 1


CHANNELS = [
    ("JMS", take_stomp, "/queue/pimap.x", SPEED_LIMIT,
     "pimap_jms_url = stomp://127.0.0.1:%d\npimap_jms_prefix = /queue/pimap.\n"),
    ("MMS", take_mm7, "+4917012345", SPEED_LIMIT,
     "pimap_mms_url = http://127.0.0.1:%d/mm7\npimap_mms_pattern = +49*\n"),
    ("MQTT", take_mqtt, "pimap/x", SPEED_LIMIT,
     "pimap_mqtt_url = mqtt://127.0.0.1:%d\npimap_mqtt_prefix = pimap\n"),
    ("SIP", None, "sip:joe@example.org", SIP_LIMIT,
     "pimap_sip_proxy = 127.0.0.1:%d\npimap_sip_pattern = sip:*@example.org\n"),
    ("SMS", take_http, "+4917012345", SPEED_LIMIT,
     "pimap_sms_url = http://127.0.0.1:%d/sms\npimap_sms_pattern = +49*\n"),
    ("WAP_PUSH", take_http, "+4917012345", SPEED_LIMIT,
     "pimap_wap_push_url = http://127.0.0.1:%d/sms\npimap_wap_push_pattern = +49*\n"),
]


@contextlib.contextmanager
def running(take):
    """Gives the peer's port, and how many notifications it has got."""
    sock = socket.socket(type=socket.SOCK_STREAM if take else socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    if take:
        sock.listen(500)
    count = multiprocessing.Value("i", 0, lock=False)
    process = multiprocessing.get_context("fork").Process(
        target=peers.serve if take else serve_sip, args=(sock, take, count), daemon=True)
    process.start()
    yield sock.getsockname()[1], count
    process.kill()
    process.join()
    sock.close()


def measure_channel(folder, name, take, address, limit, conf):
    def find(job):
        if job[0] == "FOLDERS":
            return [outband_peers.line("FOLDER", peers.GUID, "INBOX"), "OK\n"]
        lines = [outband_peers.line("FOLDER", job[2], "INBOX"),
                 outband_peers.line("DEVICE", "d", 1, name, address, "EMN", "1")]
        if len(job) == 3:
            lines += [outband_peers.line("EVENT", "NEW_MESSAGE", uid, 1)
                      for uid in range(1, EACH + 1)]
        return lines + ["OK\n"]

    with running(take) as (port, count), contextlib.ExitStack() as stack:
        text = "pimap_channels = %s\n%s%s" % (name.lower(), conf % port, peers.APART)
        stack.enter_context(rig.server(folder, delivery.plugin(text, counting.version()) +
                                       delivery.NO_LOOKS))
        worker = outband_peers.Worker(types.SimpleNamespace(path=folder), find)
        stack.callback(worker.stop)
        service = peers.Service(folder)
        peers.wait(lambda: service.queued() == 0)
        service.ask("PAUSE", name)
        service.hint("u%d" % number for number in range(USERS))
        total = USERS * EACH
        peers.wait(lambda: service.queued() == total, pause=0.2)
        service.ask("RESUME", name)
        peers.wait(lambda: count.value >= total // 10)
        first, begun, cpu = count.value, time.monotonic(), service.cpu_seconds()
        peers.wait(lambda: count.value >= total)
        sent = total - first
        speed = sent / (time.monotonic() - begun)
        cost = (service.cpu_seconds() - cpu) / sent * 1e6
    return {name + ", a second": figure(round(speed), limit, speed >= limit),
            # whatever else the machine does: it can't be faster than that allows
            "  %s, CPU of each, us" % name: figure(round(cost), 10**6 // limit,
                                                   cost <= 1e6 / limit)}


def measure(top):
    """Figures as loading.py has them"""
    results = {}
    for channel in CHANNELS:
        results.update(measure_channel(os.path.join(top, channel[0]), *channel))
    return results
