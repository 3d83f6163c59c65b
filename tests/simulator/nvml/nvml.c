/* SPDX-License-Identifier: MIT
 *
 * A stand-in for NVIDIA's libnvidia-ml.so.1, so that the real nvidia-ml-py runs where no GPU is.
 * It shows the devices of a state file that the simulator animates (gpus.py holds the same layout):
 * /run/nvml-simulated/state, or what NVML_SIMULATED_STATE names.
 *
 * cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 nvml.c
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

/* A device with this power is off the bus: every query of it fails. */
#define LOST UINT32_MAX

struct device {
    char uuid[96], name[96], bus_id[32];
    uint32_t minor, power_mw;
    uint64_t energy_mj;
};

struct state {
    char magic[8];
    uint32_t count, padding;
    struct device devices[];
};

struct pci_info { /* nvmlPciInfo_t since 9.0 */
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};

typedef const volatile struct device *device_t;

static const struct state *state;

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    if (state)
        return SUCCESS;
    const char *path = getenv("NVML_SIMULATED_STATE");
    int fd = open(path ? path : "/run/nvml-simulated/state", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return DRIVER_NOT_LOADED;
    struct stat st;
    void *map = MAP_FAILED;
    if (fstat(fd, &st) == 0 && (size_t)st.st_size >= sizeof *state)
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return DRIVER_NOT_LOADED;
    if (memcmp(map, "NVMLSIM1", 8) != 0) {
        munmap(map, (size_t)st.st_size);
        return DRIVER_NOT_LOADED;
    }
    state = map;
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    if (!state)
        return UNINITIALIZED;
    munmap((void *)state, sizeof *state + state->count * sizeof(struct device));
    state = NULL;
    return SUCCESS;
}

const char *nvmlErrorString(int result)
{
    switch (result) {
    case SUCCESS: return "The operation was successful";
    case UNINITIALIZED: return "NVML was not first initialized with nvmlInit()";
    case INVALID_ARGUMENT: return "A supplied argument is invalid";
    case NOT_SUPPORTED: return "The requested operation is not available on target device";
    case NOT_FOUND: return "A query to find an object was unsuccessful";
    case INSUFFICIENT_SIZE: return "An input argument is not large enough";
    case DRIVER_NOT_LOADED: return "NVIDIA driver is not loaded";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

static int copy(char *to, unsigned length, const char *from)
{
    if (!to)
        return INVALID_ARGUMENT;
    if (strlen(from) + 1 > length)
        return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

static int check(device_t device)
{
    if (!state)
        return UNINITIALIZED;
    if (!device)
        return INVALID_ARGUMENT;
    return device->power_mw == LOST ? GPU_IS_LOST : SUCCESS;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    return state ? copy(version, length, "550.0.simulated") : UNINITIALIZED;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    if (!state)
        return UNINITIALIZED;
    *count = state->count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device)
{
    if (!state)
        return UNINITIALIZED;
    if (index >= state->count)
        return INVALID_ARGUMENT;
    *device = &state->devices[index];
    return check(*device);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t *device)
{
    if (!state)
        return UNINITIALIZED;
    for (unsigned i = 0; i < state->count; i++)
        if (strcmp(state->devices[i].uuid, uuid) == 0)
            return nvmlDeviceGetHandleByIndex_v2(i, device);
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(device_t device, char *uuid, unsigned length)
{
    int result = check(device);
    return result ? result : copy(uuid, length, (const char *)device->uuid);
}

int nvmlDeviceGetName(device_t device, char *name, unsigned length)
{
    int result = check(device);
    return result ? result : copy(name, length, (const char *)device->name);
}

int nvmlDeviceGetIndex(device_t device, unsigned *index)
{
    int result = check(device);
    if (!result)
        *index = (unsigned)((const struct device *)device - state->devices);
    return result;
}

int nvmlDeviceGetMinorNumber(device_t device, unsigned *minor)
{
    int result = check(device);
    if (!result)
        *minor = device->minor;
    return result;
}

int nvmlDeviceGetPciInfo_v3(device_t device, struct pci_info *pci)
{
    int result = check(device);
    if (result)
        return result;
    memset(pci, 0, sizeof *pci);
    strncpy(pci->bus_id, (const char *)device->bus_id, sizeof pci->bus_id - 1);
    sscanf(pci->bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "%04x:%02x:%02x.0", pci->domain & 0xFFFFu,
             pci->bus & 0xFFu, pci->device & 0xFFu);
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(device_t device, unsigned long long *energy_mj)
{
    int result = check(device);
    if (!result)
        *energy_mj = device->energy_mj; /* one aligned load: never half of an old and half of a new value */
    return result;
}

int nvmlDeviceGetPowerUsage(device_t device, unsigned *power_mw)
{
    int result = check(device);
    if (!result)
        *power_mw = device->power_mw;
    return result;
}

int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending)
{
    int result = check(device);
    if (!result)
        *current = *pending = 0;
    return result;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *count)
{
    int result = check(device);
    if (!result)
        *count = 0;
    return result;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t device, unsigned index, device_t *mig)
{
    (void)index, (void)mig;
    int result = check(device);
    return result ? result : NOT_FOUND;
}
