# SPDX-License-Identifier: MIT
"""Keeps the first visible GPU busy for some seconds, with nothing but the driver's libcuda: `python cuda_load.py 10`."""

from __future__ import annotations

import ctypes
import sys
import time

# Every thread looks at the clock until so many cycles have gone by.
PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 cycles)
{
    .reg .u64 %rd<5>;
    .reg .pred %p<2>;
    ld.param.u64 %rd1, [cycles];
    mov.u64 %rd2, %clock64;
AGAIN:
    mov.u64 %rd3, %clock64;
    sub.u64 %rd4, %rd3, %rd2;
    setp.lt.u64 %p1, %rd4, %rd1;
    @%p1 bra AGAIN;
    ret;
}
"""
CYCLES = 50_000_000
BLOCKS, THREADS = 1024, 256


def spin(seconds: float) -> None:
    """Launch the kernel again and again. Raises OSError without libcuda, RuntimeError where it does not run."""
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *args: object) -> None:
        result = getattr(cuda, name)(*args)
        if result:
            raise RuntimeError(f"{name}: CUDA error {result}")

    device, context = ctypes.c_int(), ctypes.c_void_p()
    module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuModuleLoadData", ctypes.byref(module), PTX)
    call("cuModuleGetFunction", ctypes.byref(kernel), module, b"spin")
    cycles = ctypes.c_uint64(CYCLES)
    params = (ctypes.c_void_p * 1)(ctypes.addressof(cycles))
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        call("cuLaunchKernel", kernel, BLOCKS, 1, 1, THREADS, 1, 1, 0, None, params, None)
        call("cuCtxSynchronize")


if __name__ == "__main__":
    spin(float(sys.argv[1]))
