"""Greedy answers to many prompts: a slot that becomes free takes the next prompt, so that no row waits for another."""

from collections.abc import Callable, Collection, Iterator, Sequence

from engine.backends.base import Arrival, Decoder, Model

REFILL = 4
"""A part of the slots, one in so many, is left free before prompts join, so that several are read together."""


def greedy_answers(
    model: Model,
    prompts: Sequence[Sequence[int]],
    most: Sequence[int],
    stop: Collection[int],
    slots: int,
    poll: Callable[[], None],
) -> Iterator[tuple[int, list[int]]]:
    """The place of a prompt and its answer, without the end token, in the order in which they end.

    `most` are the tokens that each answer may have, one at least. `poll` is called before every token and may raise
    `Interrupted`. The longest prompts come first, so that memory runs out soon or never.
    """
    waiting = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    with model.decoder(min(slots, len(prompts) or 1)) as decoder:
        found: dict[int, tuple[int, list[int]]] = {}
        while waiting or found:
            poll()
            _refill(decoder, waiting, found, prompts)
            chosen = decoder.likeliest()
            for row, token in [*chosen.items()]:
                place, tokens = found[row]
                if token not in stop:
                    tokens.append(token)
                if token in stop or len(tokens) == most[place]:
                    decoder.remove(row)
                    del chosen[row], found[row]
                    yield place, tokens
            if chosen or decoder.reading:
                decoder.step(chosen)


def _refill(
    decoder: Decoder,
    waiting: list[int],
    found: dict[int, tuple[int, list[int]]],
    prompts: Sequence[Sequence[int]],
) -> None:
    """Let prompts join where enough slots are free; takes them from the end of `waiting`."""
    free = decoder.slots - len(found)
    if not waiting or (found and free < max(1, decoder.slots // REFILL)):
        return
    taken = [waiting.pop() for _ in range(min(free, len(waiting)))]
    rows = decoder.add([Arrival(prompts[place]) for place in taken])
    found.update(zip(rows, ((place, []) for place in taken), strict=True))
