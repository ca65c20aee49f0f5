# SPDX-License-Identifier: LGPL-2.1-only
"""The devices of outband_runner.py that are told by UDP: what goes to them and comes
from them is lost, late, doubled, and in another order."""

import base64
import random
import threading
import time

from udp_device import Device, TAG


class Stamped(list):
    """Notes when each came."""

    def append(self, told):
        super().append((time.time(), *told))


class Phone(Device):
    def __init__(self, phones, login, port, key):
        self.phones = phones
        self.rng = random.Random(login)
        # datagrams in neither direction
        self.away = False
        super().__init__("127.0.0.1", port, login, key, loss=self.loses)
        self.notifications = Stamped()

    def loses(self, data):
        if self.away:
            return True
        if not self.phones.rough():
            return False
        if data.startswith(TAG) and self.rng.random() < 0.1:
            self.receive(data)
        return self.rng.random() < 0.15

    def send(self, data):
        if self.away or (self.phones.rough() and self.rng.random() < 0.15):
            return data
        if self.phones.rough() and self.rng.random() < 0.2:
            # others come before it, which makes it too old
            timer = threading.Timer(self.rng.random() * 0.3, self.send_now, (data,))
            timer.daemon = True
            timer.start()
            return data
        if self.phones.rough() and self.rng.random() < 0.1:
            self.send_now(data)
        return self.send_now(data)

    def send_now(self, data):
        try:
            self.sock.sendto(data, self.peer)
        except OSError:
            # the other side has no socket now, or this one is closed
            pass
        return data


class Phones:
    """All of a server. rough() says whether datagrams are lost now."""

    def __init__(self, port, rough):
        self.port, self.rough = port, rough
        self.chance = random.Random("phones")
        self.all = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.live, daemon=True)
        self.thread.start()

    def add(self, user, name, number, secret):
        phone = Phone(self, "%s#%s" % (user, name), self.port,
                      (number, base64.b64decode(secret)))
        self.all[user, name] = phone
        phone.hello()

    def live(self):
        """They say HELLO, where they are now."""
        while not self.ended.wait(0.5):
            for phone in list(self.all.values()):
                if self.rough() and self.chance.random() < 0.05:
                    phone.move()
                if self.chance.random() < 0.7:
                    phone.hello()

    def taken(self, user, name):
        """(when, number, text) of all that came"""
        return [(when, seq, "%s%d %s" % (TAG.decode(), seq, text))
                for when, seq, text in list(self.all[user, name].notifications)]

    def stop(self):
        self.ended.set()
        self.thread.join()
        for phone in self.all.values():
            phone.close()
