# SPDX-License-Identifier: MIT
"""The whole node's power as its BMC measures it: IPMI DCMI, in-band through the kernel's `/dev/ipmi0`.

A BMC answers in anything from milliseconds to seconds and has other work, so it is asked at a slow pace and in a
thread of its own; between two answers the last power is held. See linux/ipmi.h, and DCMI 1.5, Get Power Reading.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time
from array import array

from .base import Found, Place
from .polled import Answer, Polled

PERIOD_S = 10.0
"""Between two questions, and how long one waits for its answer."""
FIRST_S = PERIOD_S + 1
"""How long the first answer is waited for: one that says that there is no such reading decides at once."""
MAX_WATTS = 50_000
"""More than any node draws; some BMCs answer with all bits set."""

# struct ipmi_req: addr, addr_len, msgid, msg; struct ipmi_recv: recv_type, then the same. struct ipmi_msg: netfn,
# cmd, data_len, data. Native alignment makes them 40 and 48 bytes, as the kernel's on 64 bits.
REQUEST = struct.Struct("@PIlBBHP")
RECEIVE = struct.Struct("@iPIlBBHP")
ADDRESS = struct.pack("@ihBx", 0x0C, 0x0F, 0)
"""struct ipmi_system_interface_addr: IPMI_SYSTEM_INTERFACE_ADDR_TYPE, IPMI_BMC_CHANNEL, LUN 0."""
IS_POWERPC = os.uname().machine.startswith("ppc")
# _IOR('i', 13, struct ipmi_req) and _IOWR('i', 11, struct ipmi_recv); PowerPC numbers the directions differently.
SEND = (0x40000000 if IS_POWERPC else 0x80000000) | REQUEST.size << 16 | 0x690D
RECEIVE_TRUNC = 0xC0000000 | RECEIVE.size << 16 | 0x690B
RESPONSE = 1
NETFN_GROUP, GET_POWER, DCMI = 0x2C, 0x02, 0xDC
QUESTION = bytes((DCMI, 0x01, 0x00, 0x00))
"""Group extension; mode: system power statistics; two reserved bytes."""
ANSWER = struct.Struct("<BBHHHHIIB")
"""Completion code, group; watts: now, least, most, average; time stamp; averaging time in ms; state."""
ACTIVE = 0x40
NOT_ACTIVE = "power measurement is not active"
STILL_S = 600.0
"""For how long a power that does not change is believed of a BMC that says that it does not measure. Some measure
and say so (github.com/openbmc/openbmc/issues/3257); one whose figure never moves does not."""
COMPLETION = {0xC1: "no such command", 0xC0: "node busy", 0xC3: "timeout", 0xD4: "not permitted", 0xD5: "not now"}


class Dcmi(Polled):
    """The BMC of one node, asked in-band."""

    def __init__(self, device: str, period_s: float) -> None:
        self._device = device
        self._watts, self._moved_s = 0, 0.0
        super().__init__("dcmi", period_s, MAX_WATTS)

    def ask(self) -> Answer:
        """Return what the BMC says now, if it can be believed."""
        return self._judged(ask(self._device, self.period_s), time.monotonic())

    def _judged(self, answer: Answer, now_s: float) -> Answer:
        """Return the answer. It is not believed if it never changes and the BMC does not say that it measures."""
        if answer.reason or answer.watts != self._watts:
            self._watts, self._moved_s = answer.watts, now_s
        is_still = not answer.is_active and now_s - self._moved_s > STILL_S
        return answer._replace(reason=f"{NOT_ACTIVE}, and its figure does not move") if is_still else answer


def find(place: Place) -> Found:
    """Ask the BMC; one that is only slow gets its time. One that never answers has no domain: nothing is missing."""
    meter = Dcmi(place.ipmi_device, PERIOD_S)
    if not meter.wait(FIRST_S) or meter.answer.reason:
        meter.is_over = True
        return Found(None, {"other": f"dcmi: {meter.answer.reason or 'no answer'}"})
    return Found(meter, {})


def ask(device: str, patience_s: float) -> Answer:
    """Ask once. The device is opened each time: a driver may be unloaded and loaded in between."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as err:
        return Answer(0, f"{device}: {(err.strerror or str(err)).lower()}")
    try:
        _send(fd)
        return understand(_receive(fd, patience_s))
    except OSError as err:
        return Answer(0, (err.strerror or str(err)).lower())
    finally:
        os.close(fd)


def understand(data: bytes) -> Answer:
    """Return the answer of a BMC, with the reason if it cannot be believed."""
    if data and data[0]:
        return Answer(0, f"completion code 0x{data[0]:02x} ({COMPLETION.get(data[0], 'see IPMI 2.0, table 5-2')})")
    if len(data) < ANSWER.size or data[1] != DCMI:
        return Answer(0, "the answer is no power reading")
    _, _, watts, _, _, _, _, _, state = ANSWER.unpack_from(data)
    is_active = bool(state & ACTIVE)
    if not watts and not is_active:
        return Answer(0, NOT_ACTIVE, is_active)
    return Answer(watts, "" if 0 < watts <= MAX_WATTS else f"{watts} W cannot be", is_active)


def _send(fd: int) -> None:
    address, question = array("B", ADDRESS), array("B", QUESTION)
    where, size = address.buffer_info()
    fcntl.ioctl(
        fd, SEND, REQUEST.pack(where, size, 1, NETFN_GROUP, GET_POWER, len(QUESTION), question.buffer_info()[0])
    )


def _receive(fd: int, patience_s: float) -> bytes:
    """Return the data of the answer. Raises OSError if none arrives in time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    deadline_s = time.monotonic() + patience_s
    while poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
        address, data = array("B", bytes(64)), array("B", bytes(272))  # IPMI_MAX_MSG_LENGTH
        where, size = address.buffer_info()
        message = bytearray(RECEIVE.pack(0, where, size, 0, 0, 0, len(data), data.buffer_info()[0]))
        fcntl.ioctl(fd, RECEIVE_TRUNC, message)
        kind, _, _, _, _, _, length, _ = RECEIVE.unpack(message)
        if kind == RESPONSE:
            return data[:length].tobytes()
    raise TimeoutError(0, f"no answer within {patience_s:g} s")
