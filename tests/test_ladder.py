"""Which endpoint is asked, what was said already, and what is left to say after a restart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.heard import Voice
from actors.ladder import Ladder, State
from actors.sentences import Splitter
from actors.unsaid import Unsaid, after, letters, rest
from schemas import Part, SpokenWords, Word

RUNGS = ("a", "b", "c")
STATES: tuple[State, ...] = ("closed", "open", "half_open")
words = st.text("abé1", min_size=1, max_size=4).map(lambda word: word + "x")
closers = st.sampled_from(["", "", ",", ".", "!", '."', " -"])
texts = st.lists(st.tuples(words, closers), min_size=1, max_size=20).map(
    lambda pairs: " ".join(word + closer for word, closer in pairs)
)


class LadderMachine(RuleBasedStateMachine):
    """Against a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.ladder = Ladder(RUNGS)
        self.states: dict[str, State] = {}

    @rule(rung=st.sampled_from([*RUNGS, "another's"]), state=st.sampled_from(STATES))
    def told(self, rung: str, state: State) -> None:
        self.ladder.told(rung, state)
        self.states[rung] = state

    @rule(states=st.dictionaries(st.sampled_from([*RUNGS, "x"]), st.sampled_from(STATES)))
    def restarted(self, states: dict[str, State]) -> None:
        self.ladder.begin_anew(states)
        self.states = dict(states)

    @invariant()
    def climbs_in_order_and_asks_each_once_and_none_whose_circuit_is_open(self) -> None:
        tried: list[str] = []
        while (rung := self.ladder.next(tried)) is not None:
            tried.append(rung)
        assert tried == [rung for rung in RUNGS if self.states.get(rung, "closed") == "closed"]


LadderMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=10, deadline=None)
TestLadder = LadderMachine.TestCase


def stretches(text: str) -> list[str]:
    splitter = Splitter()
    return [*splitter.push(text), *splitter.flush()]


@given(texts, texts, st.data())
def test_an_answer_begun_anew_is_said_from_where_it_was_broken_off(
    text: str, more: str, data: st.DataObject
) -> None:
    """Wherever it was cut and however the next one cuts it: each word is said once."""
    all_of_it = f"{text} {more}"
    was = stretches(all_of_it)
    kept = was[: data.draw(st.integers(0, len(was)))]
    unsaid = Unsaid(kept)
    anew = data.draw(st.sampled_from([was, all_of_it.split(), [all_of_it]]))
    fresh = [left for stretch in anew if (left := unsaid.of(stretch))]
    assert letters("".join(kept) + "".join(fresh)) == letters(all_of_it)


@given(texts, texts)
def test_another_answer_passes_whole(said: str, other: str) -> None:
    """From its first word on, if that is another one: it may as well be the continuation."""
    unsaid = Unsaid([said])
    if not letters(said).startswith(letters(other.split()[0])):
        assert [unsaid.of(word) for word in other.split()] == other.split()


@given(texts, st.data())
def test_what_is_left_of_a_sentence(text: str, data: st.DataObject) -> None:
    tokens = text.split()
    spoken = data.draw(st.integers(0, len(tokens)))
    left = rest(text, tokens[:spoken])
    if spoken:
        assert letters(left) == letters("".join(tokens[spoken:]))
        assert not letters(left) or left.split()[0] in tokens
    else:
        assert left == text


def test_what_was_said_in_its_place_is_no_beginning() -> None:
    assert rest("It is ten.", ["Sorry"]) == ""
    assert after("Nothing is", "no") is None
    assert after("No, nothing", "no") == "nothing"
    assert after('He said: "Go on."', "hesaid") == '"Go on."'


def told(sentence: int, *texts: str, at: int = 0) -> SpokenWords:
    spoken = tuple(Word(text, at + 10 * i, at + 10 * i + 9) for i, text in enumerate(texts))
    return SpokenWords(sentence=sentence, text="", words=spoken, rate=8000)


def test_what_is_left_of_an_answer() -> None:
    """Words of ours in between do not count, a notice stays one."""
    voice = Voice()
    voice.plan("one moment")
    voice.plan("It is ten.", 0)
    voice.plan("This call is recorded.", 1, notice=True)
    voice.plan("Bye.", 2)
    assert [part.index for part in voice.left] == [0, 1, 2]
    assert voice.told_to == (0, 16_000)
    voice.sentences += [told(-1, "one", "moment"), told(0, "It", "is ten.", at=100)]
    voice.sentences.append(told(1, "This", "call", at=200))
    assert voice.left == (Part(1, "is recorded.", True), Part(2, "Bye.", False))
    assert voice.told_to == (219, 8000)
    assert voice.said == ("It is ten.", "This call is recorded.", "Bye.")
