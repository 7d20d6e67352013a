"""The small parts that adapters share: options by name, turns, values that an answer must have."""

from __future__ import annotations

import asyncio
import gc

import pytest

from migrator import errors
from migrator.trackers.keyed_lock import KeyedLock
from migrator.trackers.name_lookup import MAX_SHOWN, NameLookup
from migrator.trackers.strict import digits, number_in, object_in, objects_in


class Projects:
    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, 0

    async def known(self) -> list[tuple[int, str]]:
        self.asked += 1
        return list(enumerate(self.names, 1))


async def test_name_is_looked_up_once_and_a_number_never():
    there = Projects("one", "two")
    by_name, by_number = NameLookup("o", "two", there.known), NameLookup("o", "17", there.known)
    assert (await by_name.number(), await by_name.number(), await by_number.number()) == (2, 2, 17)
    assert there.asked == 1


@pytest.mark.parametrize("wanted", ["three", "", "٣"])
async def test_name_that_fits_no_one_thing_is_told_with_what_there_is(wanted):
    there = Projects("one", "two", "two", "")
    with pytest.raises(errors.ConfigError, match=r"create_project: .*one \(1\), two \(2\)"):
        await NameLookup("create_project", wanted, there.known).number()


async def test_name_that_several_things_have_is_told_with_their_numbers():
    there = Projects("one", "two", "two", "")
    with pytest.raises(errors.ConfigError, match=r"'two' is ambiguous: it matches 2, 3; write the number"):
        await NameLookup("create_project", "two", there.known).number()


async def test_what_there_is_is_shown_in_part_where_it_is_much():
    there = Projects(*(f"project {number}" for number in range(500)))
    with pytest.raises(errors.ConfigError) as caught:
        await NameLookup("o", "none", there.known).number()
    assert str(caught.value).count("project") == MAX_SHOWN


async def test_work_on_one_key_takes_turns_and_on_others_runs_concurrently():
    turns, at_work, most = KeyedLock(), {"a": 0, "b": 0}, {"a": 0, "b": 0, "both": 0}

    async def work(thing: str) -> None:
        async with turns.hold(thing):
            at_work[thing] += 1
            most[thing] = max(most[thing], at_work[thing])
            most["both"] = max(most["both"], sum(at_work.values()))
            await asyncio.sleep(0)
            at_work[thing] -= 1

    await asyncio.gather(*(work(thing) for thing in "ababab"))
    assert most == {"a": 1, "b": 1, "both": 2}


async def test_turn_that_ends_in_an_error_is_over_and_nothing_is_kept_of_it():
    turns = KeyedLock()
    with pytest.raises(errors.GoneError):
        async with turns.hold("a"):
            raise errors.GoneError("gone")
    async with asyncio.timeout(1), turns.hold("a"):
        pass
    gc.collect()
    assert not len(turns._locks)


@pytest.mark.parametrize(
    "read",
    [
        lambda: object_in([]),
        lambda: object_in({"a": 1}, "a"),
        lambda: object_in(None, "a"),
        lambda: objects_in({}, "a"),
        lambda: objects_in({"a": {}}, "a"),
        lambda: objects_in([{}, 1]),
        lambda: number_in({}),
        lambda: number_in({"id": -1}),
        lambda: number_in({"id": True}),
        lambda: number_in("id"),
    ],
)
def test_value_that_is_missing_or_another_is_a_wrong_body(read):
    with pytest.raises(errors.UnexpectedBodyError):
        read()


def test_values_that_are_there_come_as_they_are():
    assert object_in({"a": {"b": 1}}, "a") == {"b": 1}
    assert objects_in({"a": []}, "a") == []
    assert (number_in({"id": "7"}), number_in({"Id": 0}, "Id")) == (7, 0)


@pytest.mark.parametrize("number", ["", "-1", "1/2", "٣", "1 ", "../x"])
def test_what_is_no_number_never_stands_in_a_path(number):
    assert digits("123") == "123"
    with pytest.raises(errors.GoneError):
        digits(number)
