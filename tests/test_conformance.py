# SPDX-License-Identifier: LGPL-2.1-only
"""doc/conformance.md has one line for each requirement, and the tests that it
names exist."""

import os
import re

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROW = re.compile(r"\| (R-\d+\.\d+[a-z]?) \| (yes|part|not yet) \| (.*?) \| (.*?) \|")


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return file.read()


def requirements():
    """Their numbers; one that is split in a, b, c counts as these."""
    numbers = []
    for line in read("doc/requirements.md").splitlines():
        whole = re.match(r"- (R-\d+\.\d+[a-z]?)\b", line)
        letter = re.match(r"  - ([a-z])\. ", line)
        if whole is not None:
            number = whole.group(1)
            numbers.append(number)
        elif letter is not None:
            if number in numbers:
                numbers.remove(number)
            numbers.append(number + letter.group(1))
    return numbers


def rows():
    lines = [line for line in read("doc/conformance.md").splitlines()
             if line.startswith("| R-")]
    matches = [ROW.fullmatch(line) for line in lines]
    assert None not in matches, lines[matches.index(None)]
    return [match.groups() for match in matches]


def test_each_requirement_has_one_line():
    assert [row[0] for row in rows()] == requirements()
    assert len(set(requirements())) == len(requirements()) > 80


def test_each_state_has_its_evidence():
    """What is met names a test, what isn't whole says what is missing."""
    for number, state, tests, missing in rows():
        assert (state == "yes") == (missing == "-"), number
        assert state != "yes" or tests != "-", number


def test_named_tests_exist():
    for number, _, tests, _ in rows():
        for name in re.split(r"[ ,]+", tests):
            if name == "-":
                continue
            path, _, function = name.partition("::")
            if "/" not in path:
                path = "tests/" + path
            assert os.path.exists(os.path.join(TOP, path)), (number, name)
            if function:
                definition = (r"^def %s\(" if path.endswith(".py") else
                              r"^static void %s\(void\)$") % re.escape(function)
                assert re.search(definition, read(path), re.MULTILINE), (number, name)
