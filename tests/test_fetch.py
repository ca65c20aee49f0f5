# SPDX-License-Identifier: LGPL-2.1-only
"""R-1.9: the macros ALL, FAST and FULL among FETCH's items."""

import pytest

from test_device import MESSAGE, device

MACROS = {"FAST": "FLAGS INTERNALDATE RFC822.SIZE",
          "ALL": "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE",
          "FULL": "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY"}


@pytest.mark.parametrize("macro", sorted(MACROS))
def test_macros_in_parentheses(server, user, macro):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"no", b"yes", b"yes")])
    phone = device(server, user, "SUBJECT yes")
    phone.ok("SELECT INBOX")
    plain.ok("SELECT INBOX")

    def same(items, others, command="FETCH 1:*"):
        result = phone.ok("%s %s" % (command, items)).fetched()
        assert result == phone.ok("%s %s" % (command, others)).fetched()
        assert sorted(result) == [1, 2]
        return result

    items = MACROS[macro]
    alone = same("(%s)" % macro, macro)
    assert alone == same("(%s)" % macro, "(%s)" % items)
    both = same("(%s BODY.PEEK[])" % macro, "(%s BODY.PEEK[])" % items)
    assert both == same("(BODY.PEEK[] %s)" % macro.lower(), "(BODY.PEEK[] %s)" % items)
    assert set(both[1]) == set(items.split()) | {"BODY[]"}
    assert both[2]["BODY[]"] == MESSAGE % b"yes"
    # an item that stands there twice comes once
    assert same("(UID %s FLAGS FAST)" % macro, "(UID %s)" % items) == same(
        "(%s)" % macro, macro, "UID FETCH 1:*")
    same("(%s BODY.PEEK[HEADER.FIELDS (SUBJECT)]<0.9>)" % macro,
         "(%s BODY.PEEK[HEADER.FIELDS (SUBJECT)]<0.9>)" % items)

    # the draft's own example; it sets \Seen
    seen, = phone.ok("FETCH 1 (%s BODY[])" % macro).fetched().values()
    assert "\\Seen" in seen["FLAGS"] and seen["BODY[]"] == MESSAGE % b"yes"

    for wrong in ("(%sX)", "(%s[])", "(%s[1])", "(%s (FLAGS))", "(%s NOSUCH)",
                  "%s FLAGS", "((%s))", "(%s.PEEK)"):
        assert phone.command("FETCH 1 " + wrong % macro).status == "BAD", wrong
    # plain sessions are as they were
    for items in ("(%s)", "(%s BODY.PEEK[])", "(FLAGS %s)"):
        result = plain.command("FETCH 1 " + items % macro)
        assert result.status == "BAD"
        assert "Unknown parameter: %s" % macro in result.text
    plain.ok("FETCH 1 " + macro)
