// SPDX-License-Identifier: MIT
// Plays /dev/ipmi0 to a process that has it preloaded: whoever opens the file named in IPMI_STAND_IN talks to a BMC.
// The file says what the BMC does, read anew at each question:
//   watts N     answers with N W            idle N   the same, but says that measurement is not active
//   code N      completion code N           short    an answer of two bytes
//   hang        never answers               stuck    the driver itself hangs in the question, until the file changes
//   gone        the driver knows no BMC any more
// What it is asked is checked: anything but DCMI's Get Power Reading to the BMC itself fails with EINVAL.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipmi.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int bmc = -1;
static long asked;

static int says(char *word, long *number)
{
	const char *path = getenv("IPMI_STAND_IN");
	FILE *file = path ? fopen(path, "r") : NULL;
	*number = 0;
	strcpy(word, "gone");
	if (!file)
		return 0;
	int found = fscanf(file, "%15s %ld", word, number);
	fclose(file);
	return found > 0;
}

static int is_ours(const char *path)
{
	const char *ours = getenv("IPMI_STAND_IN");
	return ours && !strcmp(path, ours);
}

// Python opens with O_RDWR; the stand-in's own fopen does not.
static int play(const char *path, int flags)
{
	char word[16];
	long number;
	if (!is_ours(path) || (flags & O_ACCMODE) != O_RDWR)
		return -2;
	says(word, &number);
	if (!strcmp(word, "gone")) {
		errno = ENXIO;
		return -1;
	}
	return bmc = eventfd(0, EFD_CLOEXEC);
}

#define OPEN(name)                                                                \
	int name(const char *path, int flags, ...)                                \
	{                                                                         \
		int fd = play(path, flags);                                       \
		if (fd != -2)                                                     \
			return fd;                                                \
		va_list rest;                                                     \
		va_start(rest, flags);                                            \
		mode_t mode = va_arg(rest, mode_t);                               \
		va_end(rest);                                                     \
		int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);    \
		return next(path, flags, mode);                                   \
	}
OPEN(open)
OPEN(open64)

static int question(struct ipmi_req *req)
{
	static const uint8_t expected[] = {0xdc, 0x01, 0x00, 0x00};
	const struct ipmi_system_interface_addr *to = (void *)req->addr;
	char word[16];
	long number;
	if (req->addr_len != sizeof *to || to->addr_type != IPMI_SYSTEM_INTERFACE_ADDR_TYPE ||
	    to->channel != IPMI_BMC_CHANNEL || req->msg.netfn != 0x2c || req->msg.cmd != 0x02 ||
	    req->msg.data_len != sizeof expected || memcmp(req->msg.data, expected, sizeof expected)) {
		errno = EINVAL;
		return -1;
	}
	asked = req->msgid;
	for (says(word, &number); !strcmp(word, "stuck"); says(word, &number))
		usleep(10000);
	if (!strcmp(word, "gone")) {
		errno = ENODEV;
		return -1;
	}
	if (strcmp(word, "hang"))
		eventfd_write(bmc, 1);
	return 0;
}

static int answer(struct ipmi_recv *recv)
{
	uint8_t data[19] = {0, 0xdc};
	eventfd_t none;
	char word[16];
	long number;
	eventfd_read(bmc, &none);
	says(word, &number);
	uint16_t watts[4] = {number, 1, number, number};
	memcpy(data + 2, watts, sizeof watts);
	data[18] = strcmp(word, "idle") ? 0x40 : 0;
	int length = strcmp(word, "short") ? sizeof data : 2;
	if (!strcmp(word, "code")) {
		data[0] = number;
		length = 1;
	}
	recv->recv_type = IPMI_RESPONSE_RECV_TYPE;
	recv->msgid = asked;
	recv->msg.netfn = 0x2d;
	recv->msg.cmd = 0x02;
	recv->msg.data_len = length;
	memcpy(recv->msg.data, data, length);
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list rest;
	va_start(rest, request);
	void *argument = va_arg(rest, void *);
	va_end(rest);
	if (fd == bmc && bmc >= 0 && (uint32_t)request == IPMICTL_SEND_COMMAND)
		return question(argument);
	if (fd == bmc && bmc >= 0 && (uint32_t)request == IPMICTL_RECEIVE_MSG_TRUNC)
		return answer(argument);
	int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
	return next(fd, request, argument);
}
