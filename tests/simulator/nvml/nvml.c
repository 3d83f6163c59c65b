/* SPDX-License-Identifier: MIT
 *
 * A stand-in for NVIDIA's libnvidia-ml.so.1, so that the real nvidia-ml-py runs where no GPU is.
 * It shows the devices of a state file that somebody else animates (simulator/nvml_state.py holds the same layout):
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
       INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, UNKNOWN = 999 };

/* A device with this power is off the bus: every query of it fails. */
#define LOST UINT32_MAX

struct device {
    char uuid[96], name[96], bus_id[32];
    uint32_t minor, power_mw;
    uint64_t energy_mj;
};

/* Behind the devices, where the header says so: first the driver, then one `more` for each device. */
struct driver {
    uint32_t generation; /* grows each time the driver is loaded; whoever initialised NVML before has lost it */
    uint32_t unloaded;   /* NVML cannot be initialised */
    uint32_t hang_init;  /* nvmlInit does not return while this is set, */
    uint32_t hang;       /* and so does no query of a device */
};

struct instance { /* one MIG device: a compute instance of a GPU instance */
    char uuid[96];
    uint32_t gpu_instance, compute_instance, gpu_slices, compute_slices;
    uint64_t sm_cycles; /* cycles of the GPU instance in which its SMs were busy */
};

struct sample { /* what a process did on the device until a time of the wall clock */
    uint64_t timestamp_us;
    uint32_t pid, sm_util;
};

enum { NO_ENERGY = 1, NO_POWER = 2, NO_MINOR = 4, GPM = 8, MIG = 16 };

struct more {
    uint32_t flags;
    uint32_t max_limit_mw;                   /* 0: its power cannot be limited */
    uint32_t gpu_power_mw, module_power_mw;  /* averages by scope; 0: not supported */
    uint32_t max_instances, instance_count, sample_count, padding;
    uint64_t cycles; /* elapsed */
    struct instance instances[8];
    struct sample samples[16];
};

struct state {
    char magic[8];
    uint32_t count, extended;
    struct device devices[];
};

struct pci_info { /* nvmlPciInfo_t since 9.0 */
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};

struct attributes { /* nvmlDeviceAttributes_t */
    unsigned multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
    unsigned long long memory_mb;
};

struct process_sample { /* nvmlProcessUtilizationSample_t */
    unsigned pid;
    unsigned long long timestamp_us;
    unsigned sm_util, mem_util, enc_util, dec_util;
};

struct field_value { /* nvmlFieldValue_t */
    unsigned field_id, scope_id;
    long long timestamp, latency_us;
    unsigned value_type, result;
    union { double number; unsigned integer; unsigned long long large; } value;
};

struct metric { /* nvmlGpmMetric_t */
    unsigned id, result;
    double value;
    const char *short_name, *long_name, *unit;
};

struct metrics_get { /* nvmlGpmMetricsGet_t */
    unsigned version, count;
    struct gpm_sample *first, *second;
    struct metric metrics[];
};

struct gpm_sample {
    uint32_t device, gpu_instance;
    uint64_t cycles, sm_cycles;
};

/* What callers hold of a device, or of a MIG device on it. Handles of a driver that was unloaded are void. */
struct handle {
    uint32_t generation, device;
    int instance; /* -1: the whole device */
};

typedef struct handle *device_t;

#define MAX_DEVICES 64
#define MAX_INSTANCES 8
static struct handle handles[MAX_DEVICES][MAX_INSTANCES + 1];
static const volatile struct state *state;
static size_t state_size;
static uint32_t generation;
static unsigned references;

static const volatile struct driver *driver(void)
{
    static const struct driver none;
    return state->extended ? (const volatile void *)&state->devices[state->count] : &none;
}

static const volatile struct more *more(uint32_t index)
{
    static const struct more none;
    return state->extended ? (const volatile struct more *)(driver() + 1) + index : &none;
}

static void wait_while(const volatile uint32_t *flag)
{
    while (*flag)
        usleep(1000);
}

static int open_state(void)
{
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
    if (memcmp(map, "NVMLSIM1", 8) != 0 || ((const struct state *)map)->count > MAX_DEVICES) {
        munmap(map, (size_t)st.st_size);
        return DRIVER_NOT_LOADED;
    }
    state = map;
    state_size = (size_t)st.st_size;
    return SUCCESS;
}

static void close_state(void)
{
    munmap((void *)state, state_size);
    state = NULL;
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    if (references) {
        references++;
        return SUCCESS;
    }
    int result = open_state();
    if (result)
        return result;
    wait_while(&driver()->hang_init);
    if (driver()->unloaded) {
        close_state();
        return DRIVER_NOT_LOADED;
    }
    generation = driver()->generation;
    references = 1;
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    if (!references)
        return UNINITIALIZED;
    if (--references == 0)
        close_state();
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

static int check_driver(void)
{
    if (!state)
        return UNINITIALIZED;
    return driver()->unloaded || driver()->generation != generation ? UNKNOWN : SUCCESS;
}

static int check(device_t device)
{
    int result = check_driver();
    if (result)
        return result;
    wait_while(&driver()->hang);
    if (!device || device->generation != generation || device->device >= state->count)
        return INVALID_ARGUMENT;
    if (device->instance >= (int)more(device->device)->instance_count)
        return INVALID_ARGUMENT;
    return state->devices[device->device].power_mw == LOST ? GPU_IS_LOST : SUCCESS;
}

/* As `check`; what MIG devices do not have is not supported on their handles. */
static int check_whole(device_t device)
{
    int result = check(device);
    return result ? result : device->instance < 0 ? SUCCESS : NOT_SUPPORTED;
}

static int check_mig(device_t device)
{
    int result = check(device);
    return result ? result : device->instance >= 0 ? SUCCESS : NOT_SUPPORTED;
}

static const volatile struct instance *instance(device_t device)
{
    return &more(device->device)->instances[device->instance];
}

static device_t handle(uint32_t index, int mig)
{
    device_t found = &handles[index][mig + 1];
    *found = (struct handle){generation, index, mig};
    return found;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    int result = check_driver();
    return result ? result : copy(version, length, "550.0.simulated");
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    int result = check_driver();
    if (!result)
        *count = state->count;
    return result;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device)
{
    int result = check_driver();
    if (result)
        return result;
    if (index >= state->count)
        return INVALID_ARGUMENT;
    *device = handle(index, -1);
    return check(*device);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t *device)
{
    int result = check_driver();
    if (result)
        return result;
    for (unsigned i = 0; i < state->count; i++)
        if (strcmp((const char *)state->devices[i].uuid, uuid) == 0)
            return nvmlDeviceGetHandleByIndex_v2(i, device);
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(device_t device, char *uuid, unsigned length)
{
    int result = check(device);
    if (result)
        return result;
    const volatile char *own = device->instance < 0 ? state->devices[device->device].uuid : instance(device)->uuid;
    return copy(uuid, length, (const char *)own);
}

int nvmlDeviceGetName(device_t device, char *name, unsigned length)
{
    int result = check(device);
    return result ? result : copy(name, length, (const char *)state->devices[device->device].name);
}

int nvmlDeviceGetIndex(device_t device, unsigned *index)
{
    int result = check_whole(device);
    if (!result)
        *index = device->device;
    return result;
}

int nvmlDeviceGetMinorNumber(device_t device, unsigned *minor)
{
    int result = check_whole(device);
    if (!result && more(device->device)->flags & NO_MINOR)
        result = NOT_SUPPORTED;
    if (!result)
        *minor = state->devices[device->device].minor;
    return result;
}

int nvmlDeviceGetPciInfo_v3(device_t device, struct pci_info *pci)
{
    int result = check(device);
    if (result)
        return result;
    memset(pci, 0, sizeof *pci);
    strncpy(pci->bus_id, (const char *)state->devices[device->device].bus_id, sizeof pci->bus_id - 1);
    sscanf(pci->bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "%04x:%02x:%02x.0", pci->domain & 0xFFFFu,
             pci->bus & 0xFFu, pci->device & 0xFFu);
    return SUCCESS;
}

/* -- energy and power ---------------------------------------------------------------------------------------- */

int nvmlDeviceGetTotalEnergyConsumption(device_t device, unsigned long long *energy_mj)
{
    int result = check_whole(device);
    if (!result && more(device->device)->flags & NO_ENERGY)
        result = NOT_SUPPORTED;
    if (!result) /* one aligned load: never half of an old and half of a new value */
        *energy_mj = state->devices[device->device].energy_mj;
    return result;
}

int nvmlDeviceGetPowerUsage(device_t device, unsigned *power_mw)
{
    int result = check_whole(device);
    if (!result && more(device->device)->flags & NO_POWER)
        result = NOT_SUPPORTED;
    if (!result)
        *power_mw = state->devices[device->device].power_mw;
    return result;
}

int nvmlDeviceGetPowerManagementLimitConstraints(device_t device, unsigned *min_mw, unsigned *max_mw)
{
    int result = check_whole(device);
    if (!result && !more(device->device)->max_limit_mw)
        result = NOT_SUPPORTED;
    if (result)
        return result;
    *min_mw = 100000;
    *max_mw = more(device->device)->max_limit_mw;
    return SUCCESS;
}

int nvmlDeviceGetFieldValues(device_t device, int count, struct field_value *values)
{
    enum { POWER_AVERAGE = 185, SCOPE_GPU = 0, SCOPE_MODULE = 1, UNSIGNED_INT = 1 };
    int result = check_whole(device);
    for (int i = 0; !result && i < count; i++) {
        const volatile struct more *own = more(device->device);
        uint32_t power_mw = values[i].field_id != POWER_AVERAGE ? 0
                            : values[i].scope_id == SCOPE_GPU    ? own->gpu_power_mw
                            : values[i].scope_id == SCOPE_MODULE ? own->module_power_mw
                                                                 : 0;
        values[i].value_type = UNSIGNED_INT;
        values[i].value.integer = power_mw;
        values[i].result = power_mw ? SUCCESS : NOT_SUPPORTED;
    }
    return result;
}

/* -- MIG ----------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending)
{
    int result = check_whole(device);
    if (!result)
        *current = *pending = !!(more(device->device)->flags & MIG);
    return result;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *count)
{
    int result = check_whole(device);
    if (!result)
        *count = more(device->device)->flags & MIG ? more(device->device)->max_instances : 0;
    return result;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t device, unsigned index, device_t *mig)
{
    int result = check_whole(device);
    if (result)
        return result;
    if (!(more(device->device)->flags & MIG) || index >= more(device->device)->instance_count)
        return NOT_FOUND;
    *mig = handle(device->device, (int)index);
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(device_t device, unsigned *id)
{
    int result = check_mig(device);
    if (!result)
        *id = instance(device)->gpu_instance;
    return result;
}

int nvmlDeviceGetComputeInstanceId(device_t device, unsigned *id)
{
    int result = check_mig(device);
    if (!result)
        *id = instance(device)->compute_instance;
    return result;
}

int nvmlDeviceGetAttributes_v2(device_t device, struct attributes *attributes)
{
    int result = check_mig(device);
    if (result)
        return result;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = instance(device)->gpu_slices;
    attributes->compute_slices = instance(device)->compute_slices;
    return SUCCESS;
}

/* -- what is done on a device -------------------------------------------------------------------------------- */

int nvmlDeviceGetProcessUtilization(device_t device, struct process_sample *samples, unsigned *count,
                                    unsigned long long last_us)
{
    enum { BUFFER = 100 }; /* what the real one asks for, however many there are */
    int result = check_whole(device);
    if (!result && more(device->device)->flags & MIG)
        result = NOT_SUPPORTED;
    if (result)
        return result;
    if (!samples || *count < BUFFER) {
        *count = BUFFER;
        return INSUFFICIENT_SIZE;
    }
    *count = 0;
    for (uint32_t i = 0; i < more(device->device)->sample_count; i++) {
        const volatile struct sample *one = &more(device->device)->samples[i];
        if (one->timestamp_us > last_us)
            samples[(*count)++] = (struct process_sample){one->pid, one->timestamp_us, one->sm_util, 0, 0, 0};
    }
    return *count ? SUCCESS : NOT_FOUND;
}

int nvmlGpmQueryDeviceSupport(device_t device, unsigned *support)
{
    int result = check_whole(device);
    if (!result)
        support[1] = !!(more(device->device)->flags & GPM); /* version, isSupportedDevice */
    return result;
}

int nvmlGpmSampleAlloc(struct gpm_sample **sample)
{
    *sample = calloc(1, sizeof **sample);
    return *sample ? SUCCESS : UNKNOWN;
}

int nvmlGpmSampleFree(struct gpm_sample *sample)
{
    free(sample);
    return SUCCESS;
}

int nvmlGpmMigSampleGet(device_t device, unsigned gpu_instance, struct gpm_sample *sample)
{
    int result = check_whole(device);
    if (result)
        return result;
    const volatile struct more *own = more(device->device);
    if (!(own->flags & GPM))
        return NOT_SUPPORTED;
    for (uint32_t i = 0; i < own->instance_count; i++) {
        if (own->instances[i].gpu_instance == gpu_instance) {
            *sample = (struct gpm_sample){device->device, gpu_instance, own->cycles, own->instances[i].sm_cycles};
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

int nvmlGpmMetricsGet(struct metrics_get *get)
{
    enum { SM_UTIL = 2 };
    const struct gpm_sample *first = get->first, *second = get->second;
    if (get->version != 1 || !first || !second || first->device != second->device ||
        first->gpu_instance != second->gpu_instance)
        return INVALID_ARGUMENT;
    for (unsigned i = 0; i < get->count; i++) {
        struct metric *metric = &get->metrics[i];
        uint64_t elapsed = second->cycles - first->cycles;
        metric->result = metric->id != SM_UTIL ? NOT_SUPPORTED : elapsed ? SUCCESS : UNKNOWN;
        metric->value = metric->result ? 0 : 100.0 * (double)(second->sm_cycles - first->sm_cycles) / (double)elapsed;
    }
    return SUCCESS;
}
