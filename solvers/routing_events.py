"""A heap of events in flat arrays: the earliest first, and of equal ones the one that was added first."""

from typing import Any, NamedTuple


class Heap(NamedTuple):
    """Events: `times_s`, and four numbers for each in `numbers`: order, kind, subject, ticket. Used: ``used[0]``."""

    times_s: Any
    numbers: Any
    used: Any  # how many there are, and how many there were ever


def before(heap: Heap, one: int, other: int) -> bool:
    """Say whether an event comes before another one."""
    if heap.times_s[one] != heap.times_s[other]:
        return bool(heap.times_s[one] < heap.times_s[other])
    return bool(heap.numbers[4 * one] < heap.numbers[4 * other])


def swap(heap: Heap, one: int, other: int) -> None:
    """Exchange two events."""
    time_s = heap.times_s[one]
    heap.times_s[one] = heap.times_s[other]
    heap.times_s[other] = time_s
    for k in range(4):
        number = heap.numbers[4 * one + k]
        heap.numbers[4 * one + k] = heap.numbers[4 * other + k]
        heap.numbers[4 * other + k] = number


def push(heap: Heap, time_s: float, kind: int, subject: int, ticket: int) -> bool:
    """Add an event; False where there is no room. One that never comes is left out."""
    if time_s == float("inf"):
        return True
    place = heap.used[0]
    if place >= len(heap.times_s):
        return False
    heap.times_s[place] = time_s
    heap.numbers[4 * place] = heap.used[1]
    heap.numbers[4 * place + 1] = kind
    heap.numbers[4 * place + 2] = subject
    heap.numbers[4 * place + 3] = ticket
    heap.used[0] += 1
    heap.used[1] += 1
    while place > 0:
        parent = (place - 1) // 2
        if not before(heap, place, parent):
            break
        swap(heap, place, parent)
        place = parent
    return True


def pop(heap: Heap) -> tuple[float, int, int, int]:
    """Take the first event: its time, kind, subject and ticket. There has to be one."""
    time_s = heap.times_s[0]
    kind, subject, ticket = heap.numbers[1], heap.numbers[2], heap.numbers[3]
    heap.used[0] -= 1
    last = heap.used[0]
    swap(heap, 0, last)
    place = 0
    while True:
        child = 2 * place + 1
        if child >= last:
            return time_s, kind, subject, ticket
        if child + 1 < last and before(heap, child + 1, child):
            child += 1
        if not before(heap, child, place):
            return time_s, kind, subject, ticket
        swap(heap, place, child)
        place = child
