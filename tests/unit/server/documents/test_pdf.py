"""The text of PDF files, and what hostile ones cost."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import pytest

from confined.pool import Pace
from confined.work import Work, working_for
from server.bodies import bounds
from server.documents import pdf as pdf_module
from server.documents.pdf import PdfTexts, UnreadableDocument, text_of_url
from tests.support.pdfs import assembled, in_base64, pdf, stream


@pytest.fixture(scope="module")
def texts() -> Iterator[PdfTexts]:
    texts = PdfTexts()
    yield texts
    texts.close()


def reason(texts: PdfTexts, data: bytes) -> str:
    with pytest.raises(UnreadableDocument) as found:
        texts.text(data)
    return found.value.reason


@pytest.mark.parametrize(
    ("pages", "text"),
    [
        (("Hello",), "Hello"),
        (("One", "Two", "Three"), "One\n\nTwo\n\nThree"),
        (("One", "", "Three"), "One\n\nThree"),
        (("a \\(b\\) c",), "a (b) c"),
    ],
)
def test_the_text_of_all_pages(texts: PdfTexts, pages: tuple[str, ...], text: str) -> None:
    assert texts.text(pdf(*pages)) == text


def bomb(content: bytes) -> bytes:
    """A page whose content is this."""
    return assembled(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /Resources << >> /Contents 4 0 R >>",
            stream(content),
        ]
    )


CIRCLE = assembled(
    [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]
)
ENCRYPTED = pdf(
    "secret",
    extra=b"/ID [<00><00>] /Encrypt << /Filter /Standard /V 1 /R 2 /Length 40 /P -4 "
    b"/O <%s> /U <%s> >> " % (b"11" * 32, b"22" * 32),
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged, or no PDF"),
        (b"Hello", "damaged, or no PDF"),
        (b"%PDF-1.4\n", "damaged, or no PDF"),
        (pdf("Hello")[:-200], ""),
        (pdf(""), "no text"),
        (assembled([b"<< /Type /Catalog >>"]), ""),
        (CIRCLE, ""),
        (ENCRYPTED, "encrypted"),
        (bomb(b"BT " + b"(" * 200_000), ""),
        (bomb(b"[" * 200_000), ""),
        (bomb(b"q " * 2_000_000), ""),
    ],
)
def test_a_file_without_a_text_is_refused_in_words(
    texts: PdfTexts, data: bytes, words: str
) -> None:
    assert words in reason(texts, data)


def test_what_unpacks_to_much_is_refused(texts: PdfTexts) -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(300)) + packer.flush()
    page = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    data = assembled(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /Resources << >> /Contents 4 0 R >>",
            page,
        ]
    )
    assert reason(texts, data)
    assert texts.text(pdf("still here")) == "still here"


def test_a_file_that_takes_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = Pace(cpu_seconds=0.05, wall_seconds=20.0)
    monkeypatch.setattr(pdf_module, "QUICK", moment)
    monkeypatch.setattr(pdf_module, "SLOW", moment)
    texts = PdfTexts()
    many = pdf(*("word " * 50 for _ in range(900)))
    assert "0.05 s" in reason(texts, many)
    texts.close()


def test_too_many_pages_and_too_much_text(texts: PdfTexts) -> None:
    assert "1001 pages" in reason(texts, pdf(*["x"] * (bounds.PDF_PAGES.most + 1)))
    long = pdf(*["y" * 500_000] * 10)
    assert str(bounds.PDF_CHARS.most) in reason(texts, long)


def answering(asked: list[bytes], text: str) -> Callable[[bytes], str]:
    """A reader that notes its files."""

    def read(data: bytes) -> str:
        asked.append(data)
        return text

    return read


def test_texts_are_remembered_for_their_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, data = PdfTexts(), pdf("Hello")
    asked: list[bytes] = []
    monkeypatch.setattr(texts, "_read", answering(asked, "Hello"))
    for owner in ("a", "a", "b", "a", "b"):
        with working_for(Work(owner)):
            assert texts.text(data) == "Hello"
    assert len(asked) == 2


def test_the_memory_of_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_module, "REMEMBERED_CHARS", 25)
    texts = PdfTexts()
    asked: list[bytes] = []
    monkeypatch.setattr(texts, "_read", answering(asked, "ten chars."))
    for data in (b"1", b"2", b"1", b"3", b"1", b"2"):
        texts.text(data)
    # The third text drops the one that was used the longest time ago.
    assert asked == [b"1", b"2", b"3", b"2"]


def test_one_request_has_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = PdfTexts()
    monkeypatch.setattr(texts, "_read", lambda data: "x")
    with working_for(Work("a")):
        for number in range(bounds.PDFS.most):
            texts.text(b"%d" % number)
        texts.text(b"0")
        assert "64 PDF files" in reason(texts, b"another")
    with working_for(Work("a")):
        assert texts.text(b"another") == "x"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("data:application/pdf;base64," + in_base64(pdf("Hi")), "Hi"),
        (in_base64(pdf("Hi")), "Hi"),
        ("data:text/plain;charset=utf-8;base64," + in_base64("Grüße".encode()), "Grüße"),
        ("data:text/markdown;base64," + in_base64(b"# A"), "# A"),
    ],
)
def test_data_urls(url: str, text: str) -> None:
    assert text_of_url(url, "file_data") == text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64,AAAA", "'image/png'"),
        ("data:application/pdf,plain", "base64"),
        ("data:", "base64"),
        ("data:text/plain;base64,////", "UTF-8"),
        ("data:text/plain;base64,*", "base64"),
        ("https://example.com/a.pdf", "base64"),
        ("*", "base64"),
    ],
)
def test_other_urls_are_refused(url: str, words: str) -> None:
    with pytest.raises(UnreadableDocument) as found:
        text_of_url(url, "file_data")
    assert words in found.value.reason
    assert found.value.path == ("file_data",)
