"""Reading text: words, vocabulary, splits, cache, and what is no text."""

import pytest
import torch

from cpt_core.data import DataError, Streams, load_text
from cpt_core.data.text import END, UNKNOWN
from cpt_core.spec import PlainText, PreparedText

PLAIN = PlainText(name="text", path="book.txt")
PTB = PreparedText(name="ptb", path="ptb")


def words(corpus, tokens):
    return [corpus.vocabulary[number] for number in tokens.tolist()]


def test_plain_text_becomes_lower_case_words_and_marks_with_an_end_to_each_paragraph(tmp_path):
    (tmp_path / "book.txt").write_text("It is  a truth,\nisn't it?\n\n\n“Oh!”\n" * 40, encoding="utf-8")
    corpus = load_text(PLAIN, tmp_path)
    expected = ["it", "is", "a", "truth", ",", "isn't", "it", "?", END, "“", "oh", "!", "”"]
    assert words(corpus, corpus.train[:13]) == expected


def test_the_first_90_percent_of_a_text_are_for_training_and_the_last_5_for_testing(tmp_path):
    text = [f"w{number}" for number in range(1000)]
    (tmp_path / "book.txt").write_text(" ".join(text[:-1]))  # and the end of the paragraph
    corpus = load_text(PLAIN, tmp_path)
    assert words(corpus, corpus.train) == text[:900]
    assert set(words(corpus, corpus.test)) == {UNKNOWN}
    assert len(corpus.test) == 50


def test_the_vocabulary_is_the_most_frequent_words_of_the_training_split_and_unk(tmp_path):
    (tmp_path / "book.txt").write_text("b a b c a b " * 150 + "z " * 20)
    corpus = load_text(PLAIN.model_copy(update={"max_vocabulary": 3}), tmp_path)
    assert corpus.vocabulary == [UNKNOWN, "b", "a"]
    assert words(corpus, corpus.train[:6]) == ["b", "a", "b", UNKNOWN, "a", "b"]
    assert words(corpus, corpus.test[-20:]) == [UNKNOWN] * 20
    assert load_text(PLAIN, tmp_path).vocabulary == [UNKNOWN, "b", "a", "c"]


def test_the_text_files_of_a_folder_are_read_by_name_one_after_the_other(tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "2.txt").write_text("second " * 60)
    (tmp_path / "books" / "1.txt").write_text("first " * 60)
    (tmp_path / "books" / "README").write_text("no part of it")
    corpus = load_text(PlainText(name="text", path="books"), tmp_path)
    assert words(corpus, corpus.train[[0, 60, 61]]) == ["first", END, "second"]
    assert corpus.vocabulary == [UNKNOWN, "first", "second", END]


def test_prepared_corpora_have_a_file_a_split_and_an_end_to_each_line(tmp_path):
    (tmp_path / "ptb").mkdir()
    (tmp_path / "ptb" / "ptb.train.txt").write_text(" mr. <unk> is N\n\n")
    (tmp_path / "ptb" / "ptb.test.txt").write_text(" mr. vinken is\n")
    corpus = load_text(PTB, tmp_path)
    assert words(corpus, corpus.train) == ["mr.", UNKNOWN, "is", "N", END, END]
    assert words(corpus, corpus.test) == ["mr.", UNKNOWN, "is", END]
    assert corpus.vocabulary == [UNKNOWN, END, "mr.", "is", "N"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "is not in"), (b"", "holds no words"), (b" \n\n", "holds no words"), (b"caf\xe9 " * 9, "no text in UTF-8")],
    ids=["missing", "empty", "blank", "Latin-1"],
)
def test_what_is_no_text_is_refused_by_name(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "book.txt").write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        load_text(PLAIN, tmp_path)
    assert "book.txt" in str(caught.value)


def test_a_missing_split_and_a_folder_without_text_are_refused_by_name(tmp_path):
    (tmp_path / "ptb").mkdir()
    (tmp_path / "ptb" / "ptb.train.txt").write_text("a b\n")
    with pytest.raises(DataError, match=r"ptb\.test\.txt is not in"):
        load_text(PTB, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.txt file in the folder .*empty"):
        load_text(PlainText(name="text", path="empty"), tmp_path)


def test_numbered_words_are_cached_by_content_and_options_and_a_damaged_cache_is_made_again(tmp_path):
    book, cache = tmp_path / "book.txt", tmp_path / "cache"
    book.write_text("a b a c " * 50)
    first = load_text(PLAIN, tmp_path, cache)
    (kept,) = cache.iterdir()

    def same():
        again = load_text(PLAIN, tmp_path, cache)
        return again.vocabulary == first.vocabulary and torch.equal(again.train, first.train)

    written = kept.stat().st_ino  # another file with each writing; the time is that of the last use
    assert same()
    assert kept.stat().st_ino == written
    kept.write_bytes(kept.read_bytes()[:-3])
    assert same()
    assert kept.stat().st_ino != written

    load_text(PLAIN.model_copy(update={"max_vocabulary": 2}), tmp_path, cache)
    assert len(list(cache.iterdir())) == 2
    book.write_text("a b a d " * 50)
    assert "d" in load_text(PLAIN, tmp_path, cache).vocabulary


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path):
    (tmp_path / "book.txt").write_text("a b a c " * 50)
    (tmp_path / "cache").write_text("no folder")
    assert load_text(PLAIN, tmp_path, tmp_path / "cache").vocabulary == [UNKNOWN, "a", "b", "c"]


def test_streams_run_through_the_text_and_the_target_is_the_next_word():
    streams = Streams(torch.arange(25), batch_size=2, bptt=5)
    first, second = streams(0), streams(1)
    assert first[0].tolist() == [[0, 1, 2, 3, 4], [12, 13, 14, 15, 16]]
    assert second[0].tolist() == [[5, 6, 7, 8, 9], [17, 18, 19, 20, 21]]
    assert all(torch.equal(targets, inputs + 1) for inputs, targets in (first, second))
    assert [streams.position(step) for step in range(3)] == [(0, 0), (0, 1), (1, 0)]
    assert torch.equal(streams(2)[0], first[0])


def test_evaluation_covers_the_incomplete_last_stretch_too():
    stretches = [targets for _, targets in Streams(torch.arange(25), batch_size=2, bptt=5)]
    assert torch.cat(stretches, dim=1).flatten().tolist() == list(range(1, 25))


def test_the_ranks_share_the_streams():
    whole = Streams(torch.arange(100), batch_size=6, bptt=4)(2)[0]
    parts = [Streams(torch.arange(100), batch_size=6, bptt=4, rank=rank, world_size=3)(2)[0] for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


def test_too_short_a_text_is_refused_with_what_to_lower():
    with pytest.raises(DataError, match=r"need 11 words, .* there are 10: lower training\.batch_size or dataset\.bptt"):
        Streams(torch.arange(10), batch_size=2, bptt=5)
    with pytest.raises(DataError, match=r"need 3 words, .* there are 2: lower evaluation\.batch_size"):
        Streams(torch.arange(2), batch_size=2, bptt=5, split="evaluation")
