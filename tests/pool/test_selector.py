"""What people type when they want a board, and what they are told when they mistype."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from picluster.errors import Malformed
from picluster.pool.selector import (
    LEASE_KEYS,
    MAX_ALTERNATIVES,
    MAX_SELECTOR_BYTES,
    MAX_TERMS,
    NUMERIC_KEYS,
    SEARCH_KEYS,
    Facts,
    facts_of,
    parse,
)

GIB = 1024**3

PI5 = facts_of(
    texts={
        "name": "Pi-01",
        "ip": "10.0.0.2",
        "model": "pi5",
        "model_name": "Raspberry Pi 5 Model B Rev 1.0",
        "arch": "aarch64",
        "state": "held",
        "user": "Käthe Groß",
        "job": 'night [A] *all* "fast" \\o/',
        "comment": "",
    },
    numbers={"mem": 8 * GIB, "cpus": 4, "temp": 55.5, "load": 0.25},
    labels={"camera": "", "Rack": "B", "slots": "4", "disk": "1T", "state": "free"},
)


def chosen(text: str, facts: Facts = PI5) -> bool:
    return parse(text, searching=True).matches(facts)


def refusal(text: str, *, searching: bool = True, label_keys: frozenset[str] | None = None) -> Malformed:
    with pytest.raises(Malformed) as caught:
        parse(text, searching=searching, label_keys=label_keys)
    return caught.value


# --- Asking -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "model:pi5",
        "model:pi5 tag:camera -rack:a",
        "pi-01",
        "pi-*",
        "10.0.0.?",
        "camera",
        "b",
        "rack",
        "model:(pi4|pi5)",
        "model:( zero* | pi? )",
        "mem>=4G mem<=8G mem>7.5G -mem>8G -mem<8G",
        "slots>=4 slots<5 disk>=1024G",
        "rack:*",
        'camera:""',
        "temp>55.4 load<1",
        "-seen>60",
        "-comment:*",
    ],
)
def test_a_machine_is_chosen_when_all_terms_hold(text: str) -> None:
    """Terms side by side all hold, whichever way each of them is written."""
    assert chosen(text)


@pytest.mark.parametrize(
    "text",
    [
        "model:pi4",
        "model:pi5 tag:hat",
        "-model:pi5",
        "pi-0",
        "i-0*",
        "model:(pi4|zero*)",
        "mem>8G",
        "mem<8G",
        "slots>4",
        "rack>1",
        "aarch64",
    ],
)
def test_one_term_that_fails_is_enough_to_pass_a_machine_over(text: str) -> None:
    """Matching is on whole values, so a part of a name is not the name."""
    assert not chosen(text)


@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_who_asks_for_nothing_takes_any_machine(text: str) -> None:
    """The empty selector matches every machine, even one that nothing is known of."""
    assert chosen(text)
    assert chosen(text, facts_of(texts={}))


@pytest.mark.parametrize(
    "text", ["MODEL:PI5", "PI-01", "RACK:b", "Tag:CAMERA", "user:'käthe groß'", "MEM>=8g"]
)
def test_case_never_matters(text: str) -> None:
    """Keys, values, words and the letters of numbers are case-blind, in every script."""
    assert chosen(text.replace("'", '"'))
    assert chosen(text.replace("'", '"').swapcase())


def test_sharp_s_is_two_letters_to_whoever_shouts() -> None:
    """Case is folded, not lowered, or GROSS would not find groß."""
    assert chosen('user:"KÄTHE GROSS"')


@pytest.mark.parametrize("key", ["rack", "serial", "no-such-label"])
def test_what_a_machine_lacks_it_does_not_match(key: str) -> None:
    """A missing value fits nothing, not even *, and compares with nothing; negation makes both true."""
    bare = facts_of(texts={"name": "pi-02"})
    assert not chosen(f"{key}:*", bare)
    assert chosen(f"-{key}:*", bare)
    assert not chosen("mem<1T", bare) and not chosen("mem>=0", bare)
    assert chosen("-mem<1T", bare) and chosen("-mem>=0", bare)


def test_quoted_text_means_itself() -> None:
    """Quotes keep blanks, and in them wildcards are characters like any other, also inside parentheses."""
    assert chosen('model_name:"Raspberry Pi 5 Model B Rev 1.0"')
    assert not chosen('model_name:"Raspberry*"')
    assert chosen(r'job:"night [A] *all* \"fast\" \\o/"')
    assert chosen(r'job:(x|"night [A] *all* \"fast\" \\o/")')
    assert chosen('"pi-01"') and not chosen('"pi-*"')
    assert chosen('"-x:(y"', facts_of(texts={"name": "-x:(y"}))


def test_square_brackets_are_not_special() -> None:
    """Globs know * and ? only; a job called [A] is found by typing [A]."""
    assert chosen("job:night?[A]?*")
    assert not chosen("job:night?[abc]?*")
    assert not chosen("job:night?A?*")


def test_a_glob_spans_lines() -> None:
    """A comment may have several lines, and * stands for all of them."""
    assert chosen("comment:first*last", facts_of(texts={"comment": "first\nsecond\nlast"}))


def test_numbers_are_equal_however_they_are_written() -> None:
    """A key that is a number can also be asked for by value."""
    assert chosen("mem:8G") and chosen("mem:8192m") and chosen("cpus:(2|4)") and chosen("temp:55.5")
    assert not chosen("mem:4G")


def test_a_label_cannot_pass_for_a_fact() -> None:
    """Whoever may set a label `state` must not change what the state is; as a word it is still found."""
    assert chosen("state:held -state:free free")
    assert not chosen("mem>=1G", facts_of(texts={}, labels={"mem": "8G"}))


def test_an_address_may_be_asked_for_with_its_colons() -> None:
    """After a key colons are ordinary, so an IPv6 address needs no quotes."""
    assert chosen("ip:2001:DB8::*", facts_of(texts={"ip": "2001:db8::1"}))


def test_one_value_that_fits_is_enough() -> None:
    """A board has several tags and may have several addresses."""
    board = facts_of(texts={"ip": ["10.0.0.2", "192.168.1.2"], "tag": "hat"}, labels={"camera": ""})
    assert chosen("ip:10.* ip:192.* tag:hat tag:camera hat", board)
    assert not chosen("-ip:10.*", board)


def test_facts_are_folded_once_and_complete() -> None:
    """What the rest of the service relies on when it looks into `Facts`."""
    labels = {"Camera": "", "Rack": "B", "slots": "2K"}
    facts = facts_of(texts={"name": "Pi-01", "os": ""}, numbers={"cpus": 4}, labels=labels)
    assert facts.texts == {
        "name": ("pi-01",), "cpus": ("4",),
        "camera": ("",), "rack": ("b",), "slots": ("2k",), "tag": ("camera",),
    }  # fmt: skip
    assert facts.numbers == {"cpus": 4, "slots": 2048}
    assert facts.words == ("pi-01", "camera", "rack", "b", "slots", "2k")


# --- Being told what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position", "problem", "way_out"),
    [
        ("-", 0, "needs a term", "-tag:camera"),
        ("a - b", 2, "needs a term", "-tag:camera"),
        ("--me", 1, "only once", "Remove one"),
        ('pi "night run', 3, "quote is not closed", "closing"),
        ('job:"night \\"', 4, "quote is not closed", "closing"),
        ('job:"night\\', 4, "quote is not closed", "closing"),
        (r'job:"a\b"', 6, r"only \" and \\", r"Write \\"),
        ("tag:(a|b", 4, "parenthesis is not closed", "camera|hat"),
        ("tag:(", 4, "parenthesis is not closed", "camera|hat"),
        ("tag:(a|", 4, "parenthesis is not closed", "camera|hat"),
        ("tag:(a|)", 7, "alternative is missing", "Remove a |"),
        ("tag:(|a)", 5, "alternative is missing", "Remove a |"),
        ("tag:()", 5, "alternative is missing", '""'),
        ("tag:(a b)", 7, "b cannot stand here", "separated by |"),
        ("tag:(a)b", 7, "b cannot stand here", "blank between"),
        ('"a"b', 3, "b cannot stand here", "blank between"),
        ("tag:", 3, "needs a value", "tag:VALUE"),
        ("tag: camera", 3, "needs a value", "without a blank"),
        ("tag:a|b", 5, "| cannot stand here", "parentheses after a key"),
        ("(a|b)", 0, "( cannot stand here", "need a key"),
        ("a)", 1, ") cannot stand here", "quotes"),
        ('pi"4"', 2, '" cannot stand here', "whole value"),
        ("10.0.0.2:22", 8, ": cannot stand here", "begins with a letter"),
        (":pi5", 0, ": cannot stand here", "begins with a letter"),
        ("mem=4G", 3, "= cannot stand here", "mem>=4G"),
        ("mem:>=4G", 4, "> cannot stand here", "mem>4G"),
        ("mem >= 4G", 4, "> cannot stand here", "without blanks"),
        ("4G<mem", 2, "< cannot stand here", "mem<4G"),
        ("mem>=", 5, "mem>= needs a number", "mem>=4G"),
        ("mem>= 4G", 5, "mem>= needs a number", "without a blank"),
        ("mem>lots", 4, "mem> needs a number", "mem>4G"),
        ("mem>4GB", 4, "mem> needs a number", "by 1024"),
        ("mem>4.", 4, "mem> needs a number", "decimals"),
        ("mem>-1", 4, "mem> needs a number", "mem>4G"),
        ("mem>" + 16 * "9", 4, "mem> needs a number", "mem>4G"),
        ("pi name>4", 3, "name is not a number", "name:VALUE"),
        ('""', 0, "empty word", "between the quotes"),
        ("a\0b", 1, "cannot contain", "Leave it out"),
        ("a\ud800b", 1, "cannot contain", "Leave it out"),
    ],
)
def test_a_mistake_is_named_and_shown(text: str, position: int, problem: str, way_out: str) -> None:
    """An error says what, where and how to go on, so that nobody needs the manual."""
    error = refusal(text)
    assert problem in error.message.splitlines()[0]
    assert way_out in error.hint
    assert error.details == {"position": position}
    shown, caret = error.message.split("\n")[1:]
    assert caret == " " * position + "^"
    assert len(shown) == len(text)


def test_a_mistake_in_a_long_text_is_shown_with_its_surroundings() -> None:
    """The caret stays under its place on one line of a terminal, wherever in the text that is."""
    error = refusal("name:pi " * 30 + "mem>=lots " + "name:pi\n" * 20)
    shown, caret = error.message.split("\n")[1:]
    assert shown[caret.index("^") :].startswith("lots name:pi name:pi")
    assert shown.startswith("…") and shown.endswith("…") and len(shown) <= 80


@pytest.mark.parametrize("key", sorted(SEARCH_KEYS))
def test_a_lease_cannot_depend_on_what_changes_by_itself(key: str) -> None:
    """One may search for free machines, but a lease for one would stop matching once it holds it."""
    error = refusal(f"pi5 -{key}:x", searching=False)
    assert f"A lease cannot depend on {key}" in error.message
    assert error.details == {"position": 5}
    assert parse(f"pi5 -{key}:x", searching=True).keys() == {key}


@pytest.mark.parametrize("key", sorted(LEASE_KEYS))
def test_stable_facts_can_be_leased(key: str) -> None:
    """These keys, and labels, are what a lease may ask for."""
    assert parse(f"{key.upper()}:x", label_keys=()).keys() == {key}


def test_a_mistyped_key_is_told_the_nearest_one() -> None:
    """Once it is known which labels exist, a key that nobody has is a mistake and not a machine too few."""
    labels = frozenset({"rack", "disk.size"})
    assert refusal("pi modle:pi5", label_keys=labels).hint == "Did you mean model?"
    assert refusal("-rak:b", label_keys=labels).hint == "Did you mean rack?"
    assert refusal("-rak:b", label_keys=labels).details == {"position": 1}
    assert "arch, comment, cpus" in refusal("zzzzzz>4", label_keys=labels).hint
    assert "temp" not in refusal("zzzzzz>4", label_keys=labels, searching=False).hint
    assert parse("Rack:b disk.size>4G -bare", label_keys=labels).keys() == {"rack", "disk.size"}


def test_without_knowing_the_labels_any_key_may_be_one() -> None:
    """A label that comes later is asked for today."""
    assert parse("modle:pi5").keys() == {"modle"}


def test_too_much_is_refused_before_any_work() -> None:
    """The limits are inclusive, and the error points at the first thing too many."""
    assert len(parse("a " * MAX_TERMS).terms) == MAX_TERMS
    assert refusal("a " * (MAX_TERMS + 1)).details == {"position": 2 * MAX_TERMS}

    assert parse(f"tag:({'|'.join(map(str, range(MAX_ALTERNATIVES)))})")
    error = refusal(f"tag:({'|'.join(map(str, range(MAX_ALTERNATIVES + 1)))})")
    assert (error.details, f"at most {MAX_ALTERNATIVES}" in error.message) == ({"position": 4}, True)

    assert parse("ä" * (MAX_SELECTOR_BYTES // 2))
    error = refusal("ä" * (MAX_SELECTOR_BYTES // 2) + "a")
    assert (error.details, "at most 16384 bytes" in error.message) == (
        {"position": MAX_SELECTOR_BYTES // 2},
        True,
    )
    assert (
        "at most 16384 bytes" in refusal("\u0390" * (MAX_SELECTOR_BYTES // 2)).message
    )  # folds to three letters


# --- The canonical form -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("  MODEL:PI5\n -Rack:b  ", "model:pi5 -rack:b"),
        ("tag:(b|a|B)", "tag:(a|b)"),
        ("tag:( a )", "tag:a"),
        ('tag:"camera" "pi-01"', "tag:camera pi-01"),
        ('tag:"a b" tag:"a*" "-x" tag:""', 'tag:"a b" tag:"a*" "-x" tag:""'),
        (r'"a\\\"b"', r'"a\\\"b"'),
        ("ip:2001:db8::1 tag:-x a\\b", "ip:2001:db8::1 tag:-x a\\b"),
        ('tag:"<x" "a:b"', 'tag:"<x" "a:b"'),
        ("pi***-*?*?", "pi*-??*"),
        ("mem>=4096M mem<04.50g slots>1000", "mem>=4G mem<4.5G slots>1000"),
        ("mem:4096M slots:4096M", "mem:4g slots:4096m"),
        ("temp>0.3G", "temp>0.3G"),
        ("b a b", "b a b"),
    ],
)
def test_selectors_that_ask_the_same_look_the_same(text: str, canonical: str) -> None:
    """The pool groups waiting leases by what they ask, however each was typed."""
    selector = parse(text, searching=True)
    assert selector.canonical == str(selector) == canonical
    assert selector.text == text
    assert {selector: "the same"}[parse(canonical, searching=True)] == "the same"


def test_the_order_of_terms_is_kept() -> None:
    """A person recognises their own selector, so only what is inside a term is rearranged."""
    assert parse("a b") != parse("b a")


def test_a_page_can_underline_a_term() -> None:
    """Each term knows its place in the text as given, and can be asked alone which one excludes a machine."""
    selector = parse('  pi-*  -model:( pi4 |"Pi 5" ) mem>=16G')
    assert [selector.text[term.start : term.end] for term in selector.terms] == [
        "pi-*", '-model:( pi4 |"Pi 5" )', "mem>=16G"
    ]  # fmt: skip
    assert [term.key for term in selector.terms] == [None, "model", "mem"]
    assert [term.matches(PI5) for term in selector.terms] == [True, True, False]


# --- Whatever is typed --------------------------------------------------------------------------------------

TYPED = st.text(alphabet='ab0 -:*?()|"\\<>=.4GMk[ß\tİ', max_size=40)
"""Mostly the characters that mean something."""

VALUES = st.text(alphabet="ab*?", max_size=12)
KEYS = st.sampled_from([*sorted(LEASE_KEYS | SEARCH_KEYS), "rack", "Disk.size", "x-1"])
NUMBERS = st.from_regex(r"[0-9]{1,15}(\.[0-9]{1,4})?[KMGTkmgt]?", fullmatch=True)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def some_terms() -> st.SearchStrategy[str]:
    keepable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    letters = st.characters(categories=["L", "N"])
    globs = st.text(letters | st.sampled_from("*?-.[]:\\"), min_size=1)
    alternative = globs | st.text(keepable).map(quoted)
    value = alternative | st.lists(alternative, min_size=1, max_size=5).map(lambda a: f"({' | '.join(a)})")
    keyed = st.builds("{}:{}".format, KEYS, value)
    numeric = st.sampled_from([*sorted(NUMERIC_KEYS), "slots"])
    compared = st.builds("{}{}{}".format, numeric, st.sampled_from([">", ">=", "<", "<="]), NUMBERS)
    word = st.text(letters | st.sampled_from("*?._"), min_size=1) | st.text(keepable, min_size=1).map(quoted)
    return st.builds("{}{}".format, st.sampled_from(["", "-"]), keyed | compared | word)


@given(st.lists(some_terms(), max_size=8).map("  ".join))
def test_the_canonical_form_reads_as_the_same_selector(text: str) -> None:
    """What is stored, shown or sent on means what was typed, to the last escape."""
    selector = parse(text, searching=True)
    again = parse(selector.canonical, searching=True)
    assert again == selector
    assert again.canonical == selector.canonical
    assert again.matches(PI5) == selector.matches(PI5)
    assert len(selector.canonical.encode()) <= len(text.casefold().encode())


@given(TYPED | st.text())
@example('"\\')
@example("-\u00a0")
@example("K:a")  # the Kelvin sign, which folds to a k
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing that can be typed raises anything but Malformed, and that points into the text."""
    try:
        selector = parse(text, searching=True)
    except Malformed as error:
        assert 0 <= error.details["position"] <= len(text)
        assert error.hint and error.message.count("\n") == 2
    else:
        assert parse(selector.canonical, searching=True) == selector
        assert isinstance(selector.matches(PI5), bool)


@given(some_terms())
def test_a_minus_turns_every_answer_round(term: str) -> None:
    """No machine is in both or neither of a term and its negation."""
    plain = term.removeprefix("-")
    for machine in (PI5, facts_of(texts={})):
        assert chosen(plain, machine) is not chosen("-" + plain, machine)


# --- Globs --------------------------------------------------------------------------------------------------


@functools.cache
def fits_by_definition(glob: str, value: str) -> bool:
    """What a glob means, with no thought for speed."""
    if not glob:
        return not value
    if glob[0] == "*":
        return fits_by_definition(glob[1:], value) or (value != "" and fits_by_definition(glob, value[1:]))
    return value != "" and glob[0] in ("?", value[0]) and fits_by_definition(glob[1:], value[1:])


@given(VALUES.filter(bool), st.text(alphabet="ab", max_size=12))
def test_a_glob_means_what_its_definition_says(glob: str, value: str) -> None:
    """Never giving back what a * took loses no match."""
    shelved = facts_of(texts={}, labels={"rack": value})
    assert chosen(f"rack:{glob}", shelved) is fits_by_definition(glob, value)


def hostile_globs() -> Iterator[str]:
    yield "*a" * 5 + "*b"
    yield "*a" * 2000 + "*b"
    yield "*?" * 2000 + "b"
    yield "*a?" * 1500 + "*b"
    yield "*" + "a" * 4000 + "?*b"
    yield "a*" * 2000 + "b"
    yield "*" * 5000 + "b"


@pytest.mark.parametrize("glob", list(hostile_globs()), ids=lambda glob: glob[:6])
def test_a_hostile_glob_is_answered_in_our_lifetime(glob: str) -> None:
    """A matcher that tried again would need more steps than there are atoms; that this ends is the proof."""
    assert not chosen(f"job:{glob}", facts_of(texts={"job": "a" * 8192}))
    assert chosen(f"job:{glob}", facts_of(texts={"job": "a" * 8192 + "b"}))


def test_a_hostile_text_is_read_in_our_lifetime() -> None:
    """Reading goes from left to right once, whatever is nested, quoted or left open."""
    for piece in ('"', "(", "a:(", '\\"', "-", "a|", "a:|", "<", "((a|", 'a:"\\\\'):
        refusal((piece * MAX_SELECTOR_BYTES)[:MAX_SELECTOR_BYTES])
    assert parse("x" * (MAX_SELECTOR_BYTES - 2) + ":y").keys() == {"x" * (MAX_SELECTOR_BYTES - 2)}
