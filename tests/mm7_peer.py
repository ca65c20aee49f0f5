# SPDX-License-Identifier: LGPL-2.1-only
"""A small MMSC: its MM7, by 3GPP TS 23.140 6.16. It validates each request, keeps the
messages, and answers what a test wants."""

import base64
import collections
import email
import email.policy
import http.server
import threading
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
MM7 = "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/REL-6-MM7-1-4"
# of SubmitReq, in their order; True: it must be there
CHILDREN = {
    "SubmitReq": [
        ("MM7Version", True), ("SenderIdentification", True), ("Recipients", True),
        ("ServiceCode", False), ("LinkedID", False), ("MessageClass", False),
        ("TimeStamp", False), ("ReplyCharging", False), ("EarliestDeliveryTime", False),
        ("ExpiryDate", False), ("DeliveryReport", False), ("ReadReply", False),
        ("Priority", False), ("Subject", False), ("ChargedParty", False),
        ("ChargedPartyID", False), ("DistributionIndicator", False),
        ("DeliveryCondition", False), ("ApplicID", False), ("ReplyApplicID", False),
        ("AuxApplicInfo", False), ("ContentClass", False), ("DRMContent", False),
        ("Content", False)],
    "SenderIdentification": [("VASPID", False), ("VASID", False), ("SenderAddress", False)],
    "SenderAddress": [("Number", True)],
    "Recipients": [("To", True)],
    "To": [("Number", True)],
}
VALUES = {"MessageClass": ["Personal", "Informational", "Advertisement", "Auto"],
          "DeliveryReport": ["true", "false"], "ReadReply": ["true", "false"],
          "MM7Version": ["6.8.0"]}

ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<env:Envelope xmlns:env="%s"><env:Header><mm7:TransactionID xmlns:mm7="%s"
env:mustUnderstand="1">%s</mm7:TransactionID></env:Header><env:Body>%s</env:Body></env:Envelope>
"""
SUBMITTED = """<SubmitRsp xmlns="%s"><MM7Version>6.8.0</MM7Version><Status><StatusCode>%d</StatusCode>
<StatusText>%s</StatusText></Status><MessageID>%s</MessageID></SubmitRsp>"""
FAULT = """<env:Fault><faultcode>env:Client</faultcode><faultstring>Client error</faultstring>
<detail><RSErrorRsp xmlns="%s"><MM7Version>6.8.0</MM7Version><Status><StatusCode>%d</StatusCode>
<StatusText>%s</StatusText></Status></RSErrorRsp></detail></env:Fault>"""

Message = collections.namedtuple("Message", "transaction sender to type text")


def local(element):
    namespace, name = element.tag[1:].split("}")
    assert namespace == MM7, element.tag
    return name


def validate(element):
    name = local(element)
    if name not in CHILDREN:
        assert len(element) == 0, name
        assert (element.text or "").strip() != "" or name == "Content", name
        assert element.text in VALUES.get(name, [element.text]), element.text
        return
    expected = list(CHILDREN[name])
    for child in element:
        while expected and expected[0][0] != local(child):
            assert not expected.pop(0)[1], "%s: out of order: %s" % (name, child.tag)
        assert expected, "%s: unknown: %s" % (name, child.tag)
        expected.pop(0)
        validate(child)
    assert not any(must for _, must in expected), "%s lacks %s" % (name, expected)


def parse(headers, body):
    """A request as a Message. AssertionError: it isn't one."""
    assert headers["SOAPAction"] == '""'
    mime = email.message_from_bytes(
        b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body,
        policy=email.policy.HTTP)
    assert mime.get_content_type() == "multipart/related" and not mime.defects
    assert mime.get_param("type") == "text/xml"
    root, content = mime.get_payload()
    assert root["Content-ID"] == mime.get_param("start")
    assert root.get_content_type() == "text/xml"
    envelope = ElementTree.fromstring(root.get_payload(decode=True))
    assert envelope.tag == "{%s}Envelope" % SOAP
    header, soap = envelope
    transaction, = header
    assert transaction.tag == "{%s}TransactionID" % MM7
    assert transaction.get("{%s}mustUnderstand" % SOAP) == "1"
    submit, = soap
    assert local(submit) == "SubmitReq"
    validate(submit)

    def text(path):
        found = submit.find("/".join("{%s}%s" % (MM7, name) for name in path.split("/")))
        return None if found is None else found.text
    href = submit.find("{%s}Content" % MM7).get("href")
    assert content["Content-ID"] == "<%s>" % href[len("cid:"):]
    return Message(transaction.text, tuple(text("SenderIdentification/" + name) for name in (
        "VASPID", "VASID", "SenderAddress/Number")), text("Recipients/To/Number"),
        content.get_content_type(), content.get_payload(decode=True).decode(
            content.get_param("charset")))


class MMSC:
    """answers: what is said to each request, the last one to all others: a status of MM7's,
    a negative one as a fault; ("http", status), with a text of its own if it is the third;
    "hang", or "half" of an answer."""

    USER, PASSWORD = "vasp", "p:&s %+"

    def __init__(self, *answers):
        self.answers = list(answers or [1000])
        self.messages, self.wrong = [], []
        self.port, self.server = 0, None
        self.released = threading.Event()
        self.path = "/mm7?x=y"
        self.start()
        self.url = "http://127.0.0.1:%d%s" % (self.port, self.path)

    def take(self, handler):
        size = int(handler.headers["Content-Length"])
        body = handler.rfile.read(size)
        if len(body) < size:
            handler.close_connection = True  # it was cut
            return
        secret = base64.b64encode(("%s:%s" % (self.USER, self.PASSWORD)).encode()).decode()
        if handler.headers["Authorization"] != "Basic " + secret:
            self.send(handler, 401, "<html>no</html>")
            return
        try:
            assert handler.path == self.path
            message = parse(handler.headers, body)
        except Exception as error:
            self.wrong.append((repr(error), body))
            self.send(handler, 500, self.answer("", -2007))
            return
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer in ("hang", "half"):
            if answer == "half":
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<?xml")
                handler.wfile.flush()
            self.released.wait(60)
            handler.close_connection = True
            return
        if isinstance(answer, tuple):
            self.send(handler, answer[1], (answer + ("<html>&amp;</html>",))[2])
            return
        if answer == 1000:
            self.messages.append(message)
        self.send(handler, 200 if answer > 0 else 500, self.answer(message.transaction, answer))

    @staticmethod
    def answer(transaction, status):
        inner = SUBMITTED % (MM7, status, "It\nis &lt;so&gt;", "id") if status > 0 else \
            FAULT % (MM7, -status, "It\nis &lt;so&gt;")
        return ANSWER % (SOAP, MM7, escape(transaction), inner)

    @staticmethod
    def send(handler, status, text):
        octets = text.encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "text/xml; charset=utf-8")
        handler.send_header("Content-Length", str(len(octets)))
        handler.end_headers()
        handler.wfile.write(octets)

    def start(self):
        mmsc = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                mmsc.take(self)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 50
            open = set()

            def process_request(self, request, address):
                self.open.add(request)
                super().process_request(request, address)

            def shutdown_request(self, request):
                self.open.discard(request)
                super().shutdown_request(request)

            def handle_error(self, request, address):
                pass  # it was closed by the end

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()
        for request in list(self.server.open):
            try:
                request.shutdown(2)
            except OSError:
                pass

    def restart(self):
        self.end()
        self.start()

    def stop(self):
        self.released.set()
        self.end()
