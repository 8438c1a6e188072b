"""Erlang's loss formula: the share of calls that find all slots taken, when calls arrive at random and do not wait.

It holds for any distribution of call lengths with the same mean, which is why only the mean is asked for.
"""


def blocking(offered: float, slots: int) -> float:
    """The probability that a call is refused, 0 to 1.

    Args:
        offered: arrivals a second times mean length in seconds (erlangs).
        slots: calls that can be live at once.
    """
    if offered < 0 or slots < 0:
        raise ValueError(f"offered traffic and slots cannot be below 0: {offered}, {slots}")
    refused = 1.0
    for slot in range(1, slots + 1):
        refused = offered * refused / (slot + offered * refused)
    return refused


def slots_for(offered: float, most_blocking: float) -> int:
    """The fewest slots that refuse at most this share of calls."""
    if not 0 < most_blocking < 1:
        raise ValueError(f"a share of refused calls lies between 0 and 1, not at {most_blocking}")
    refused, slots = 1.0, 0
    while refused > most_blocking:
        slots += 1
        refused = offered * refused / (slots + offered * refused)
    return slots
